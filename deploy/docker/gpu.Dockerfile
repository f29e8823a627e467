# syntax=docker/dockerfile:1
# longjump on NVIDIA GPUs: docker build -f deploy/docker/gpu.Dockerfile -t longjump:gpu .
#
# CUDA's runtime, cuDNN and TensorRT-RTX come with the packages of the extras `gpu` and `tensorrt`; the node brings its
# driver (580 or newer, for CUDA 13) and NVIDIA's container toolkit. TensorRT itself lies on NVIDIA's own package index,
# whose address NVIDIA's guide to installing TensorRT gives:
#
#     docker build ... --build-arg TENSORRT='tensorrt-cu13>=10.14' --build-arg TENSORRT_INDEX=...
#
# /var/cache/longjump keeps measured costs and compiled engines, by GPU, driver, graph and version of the compiler; give it
# a volume. The bill of materials is /opt/longjump/sbom.json.
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
ARG TENSORRT=
ARG TENSORRT_INDEX=
COPY . /source
RUN EXTRAS=gpu,tensorrt,otel,redis OTHERS="${TENSORRT}" OTHERS_INDEX="${TENSORRT_INDEX}" \
    sh /source/deploy/docker/install.sh /source /opt/longjump /tmp/work

FROM python:${PYTHON}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="longjump" \
      org.opencontainers.image.description="Serves few-step image generators (flow maps) over HTTP, on NVIDIA GPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 10001 longjump \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin longjump \
 && install -d -o longjump -g longjump /var/cache/longjump /var/lib/longjump
COPY --from=build /opt/longjump /opt/longjump
ENV PATH=/opt/longjump/bin:$PATH \
    LONGJUMP_COST_CACHE=/var/cache/longjump \
    LONGJUMP_ENGINE_CACHE=/var/cache/longjump/engines \
    CUDA_CACHE_PATH=/var/cache/longjump/cuda \
    CUPY_CACHE_DIR=/var/cache/longjump/cupy \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /
EXPOSE 8000
STOPSIGNAL SIGTERM
# A GPU's libraries load, and its engine warms up, for longer than a CPU's.
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["longjump"]
CMD ["serve", "--host", "0.0.0.0", "--log-format", "json"]
