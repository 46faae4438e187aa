# Deep-CroP with the curve and the network.
#
#   docker build --tag deepcrop .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/data" deepcrop map region.zarr --year 2018 --out maps
#
# On Linux PyTorch's wheel brings CUDA, gigabytes of it. PyTorch's own build for processors without a
# GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Without the network: --build-arg EXTRAS=dask,labels

# Wheels bring GDAL, PROJ and numba's LLVM with them; what they do not bring is expat.
FROM python:3.11-slim AS base
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libexpat1 \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
ARG EXTRAS=dask,labels,network
ARG TORCH_INDEX=
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN python -m venv /opt/deepcrop \
    && if [ -n "${TORCH_INDEX}" ]; then /opt/deepcrop/bin/pip install --no-cache-dir \
        --constraint constraints.txt --no-deps --index-url "${TORCH_INDEX}" torch; fi \
    && /opt/deepcrop/bin/pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"
# Kernels are compiled here, and not by every container; one on another kind of processor compiles
# its own beside them, so that whoever runs it must be able to write there.
ENV NUMBA_CACHE_DIR=/opt/deepcrop/kernels
RUN /opt/deepcrop/bin/deepcrop simulate /tmp/region.zarr --size 40x40 \
    && /opt/deepcrop/bin/deepcrop map /tmp/region.zarr --year 2018 --out /tmp/maps \
    && chmod --recursive a+rwX /opt/deepcrop/kernels

FROM base
COPY --from=build /opt/deepcrop /opt/deepcrop
# Any user may run it: what is written goes to /data, caches to /tmp.
ENV PATH=/opt/deepcrop/bin:$PATH \
    NUMBA_CACHE_DIR=/opt/deepcrop/kernels \
    HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib PYTHONDONTWRITEBYTECODE=1
WORKDIR /data
ENTRYPOINT ["deepcrop"]
CMD ["--help"]
