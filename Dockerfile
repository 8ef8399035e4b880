# syntax=docker/dockerfile:1
# One image for the three processes of the pool: `docker run … worker | sweeper | exporter`.
# Pin the base by digest where you build: --build-arg BASE=python:3.11-slim-bookworm@sha256:…
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
COPY requirements/build.lock requirements/runtime.lock requirements/
RUN python -m venv /build \
    && /build/bin/pip install --require-hashes -r requirements/build.lock \
    && python -m venv --without-pip /opt/dayfly \
    && /build/bin/pip --python /opt/dayfly/bin/python install --require-hashes -r requirements/runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY examples/photos examples/photos
COPY metrics metrics
COPY pipelines pipelines
COPY providers providers
COPY storage storage
COPY worker worker
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /build/bin/pip --python /opt/dayfly/bin/python install --no-deps --no-index --find-links /wheels dayfly \
    && /opt/dayfly/bin/python -m compileall -q /opt/dayfly/lib

FROM ${BASE}
# libseccomp, which the sandbox loads, comes with the base: apt itself depends on it.
ENV PATH=/opt/dayfly/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=build /opt/dayfly /opt/dayfly
RUN groupadd --gid 10001 dayfly \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin dayfly \
    && python -c 'import ctypes; ctypes.CDLL("libseccomp.so.2")' \
    && dayfly --help >/dev/null
USER 10001:10001
WORKDIR /tmp
# Exec form, so that the process itself is PID 1 and receives SIGTERM once.
ENTRYPOINT ["dayfly"]
CMD ["worker"]
