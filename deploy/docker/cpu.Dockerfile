# syntax=docker/dockerfile:1
# longjump on CPUs: docker build -f deploy/docker/cpu.Dockerfile -t longjump:cpu .
#
# The second stage holds Python, /opt/longjump (no torch, no pip, no compiler) and the demo in it. It runs as a user of its
# own and writes only under /var/cache/longjump (measured costs; without it they are measured again at each start, half a
# second). Its bill of materials is /opt/longjump/sbom.json. deploy/clean_root.py does the same steps without an engine.
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
COPY . /source
RUN sh /source/deploy/docker/install.sh /source /opt/longjump /tmp/work

FROM python:${PYTHON}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="longjump" \
      org.opencontainers.image.description="Serves few-step image generators (flow maps) over HTTP, on CPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 10001 longjump \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin longjump \
 && install -d -o longjump -g longjump /var/cache/longjump
COPY --from=build /opt/longjump /opt/longjump
ENV PATH=/opt/longjump/bin:$PATH \
    LONGJUMP_COST_CACHE=/var/cache/longjump \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /
EXPOSE 8000
STOPSIGNAL SIGTERM
# Ready, not only alive: who starts after it, and a proxy that asks, want to know whether it serves.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["longjump"]
CMD ["serve", "--host", "0.0.0.0", "--log-format", "json"]
