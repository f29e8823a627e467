#!/bin/sh
# Installs longjump from its sources for serving, for images and clean roots: install.sh SOURCE TARGET WORK
#   SOURCE  the repository
#   TARGET  becomes an environment with longjump, what serving needs and nothing else (no torch, no pip), and sbom.json
#   WORK    for the tools and the wheel; not needed afterwards
# Versions are those of constraints.txt, the tools' too. EXTRAS are longjump's (default: cpu,otel,redis), PYTHON the
# interpreter. OTHERS are requirements that are no extra's; they come from OTHERS_INDEX alone, a package index, if that
# is set, so that no package of the one index can pass for one of the other.
set -eu
if [ $# -ne 3 ]; then
    echo "usage: install.sh SOURCE TARGET WORK" >&2
    exit 2
fi
source=$1 target=$2 work=$3
python=${PYTHON:-python3}
export PIP_CONSTRAINT="$source/constraints.txt" PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

"$python" -m venv "$work/tools"
"$work/tools/bin/python" -m pip install --quiet build hatchling cyclonedx-bom
"$work/tools/bin/python" -m build --wheel --no-isolation --outdir "$work/dist" "$source" >&2
set -- "$work"/dist/longjump-*.whl

"$python" -m venv --without-pip "$target"
install="$work/tools/bin/python -m pip --python $target/bin/python install --quiet"
$install "$1[${EXTRAS:-cpu,otel,redis}]"
if [ -n "${OTHERS:-}" ]; then
    # shellcheck disable=SC2086 # several requirements are several words
    $install ${OTHERS_INDEX:+--index-url "$OTHERS_INDEX"} $OTHERS
fi
"$work/tools/bin/cyclonedx-py" environment --output-reproducible --output-file "$target/sbom.json" "$target/bin/python"
