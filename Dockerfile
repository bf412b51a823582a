# The three images of Insource: `docker build --target insource|gateway|servers .`, or `buildah bud`.
#
# What is installed stands in requirements/*.txt with its hashes; the same SOURCE_DATE_EPOCH gives the same files.
# BASE is any image with CPython 3.11 or newer as `python`, its `venv`, `pip` >= 22.3 and CA certificates.
ARG BASE=python:3.11.14-slim-bookworm


FROM ${BASE} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
ARG SOURCE_DATE_EPOCH=0
# Our own code and Envoy lie beside the virtual environment, in layers of their own: its .pth file finds them.
RUN python -m venv --without-pip /opt/python \
 && site="$(/opt/python/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
 && printf '/opt/insource\n/opt/envoy\n' > "$site/insource.pth"


FROM dependencies AS base-dependencies
ARG SOURCE_DATE_EPOCH=0
COPY requirements/base.txt /src/requirements/
RUN pip --python /opt/python/bin/python install --require-hashes --no-deps --no-compile --only-binary :all: \
        -r /src/requirements/base.txt \
 && /opt/python/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/python/lib \
 && find /opt/python -exec touch -h -d "@${SOURCE_DATE_EPOCH}" {} +


FROM dependencies AS servers-dependencies
ARG SOURCE_DATE_EPOCH=0
COPY requirements/servers.txt /src/requirements/
RUN pip --python /opt/python/bin/python install --require-hashes --no-deps --no-compile --only-binary :all: \
        -r /src/requirements/servers.txt \
 && /opt/python/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/python/lib \
 && find /opt/python -exec touch -h -d "@${SOURCE_DATE_EPOCH}" {} +


FROM dependencies AS envoy
ARG SOURCE_DATE_EPOCH=0
COPY requirements/gateway.txt /src/requirements/
RUN pip --python /opt/python/bin/python install --require-hashes --no-deps --no-compile --only-binary :all: \
        --target /opt/envoy -r /src/requirements/gateway.txt \
 && find /opt/envoy -exec touch -h -d "@${SOURCE_DATE_EPOCH}" {} +


FROM dependencies AS code
ARG SOURCE_DATE_EPOCH=0
COPY requirements/build.txt /src/requirements/
RUN python -m venv --without-pip /opt/build \
 && pip --python /opt/build/bin/python install --require-hashes --no-deps --only-binary :all: \
        -r /src/requirements/build.txt
COPY pyproject.toml LICENSE /src/
COPY operator /src/operator
# Nobody reads a long description in an image: an edit of README.md makes no new one.
RUN cd /src && : > README.md && SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH}" /opt/build/bin/python -m hatchling build -t wheel -d /dist \
 && for wheel in /dist/*.whl; do \
        printf '%s --hash=sha256:%s\n' "$wheel" "$(sha256sum "$wheel" | cut -d ' ' -f 1)" > /dist/wheel.txt; \
    done \
 && pip --python /opt/python/bin/python install --require-hashes --no-deps --no-index --no-compile \
        --target /opt/insource -r /dist/wheel.txt \
 && /opt/python/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/insource \
 && find /opt/insource -exec touch -h -d "@${SOURCE_DATE_EPOCH}" {} +


# How each of them runs.
FROM ${BASE} AS runtime
ENV PATH=/opt/insource/bin:/opt/python/bin:/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin \
    HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["insource"]


# Operator, ledger, adapters and `insource fetch`.
FROM runtime AS insource
COPY --from=base-dependencies /opt/python /opt/python
COPY --from=code /opt/insource /opt/insource
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="insource" \
      org.opencontainers.image.description="Insource: operator, ledger and adapters" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"


# The gateway's two processes: the agent, and Envoy.
FROM runtime AS gateway
COPY --from=base-dependencies /opt/python /opt/python
COPY --from=envoy /opt/envoy /opt/envoy
COPY --from=code /opt/insource /opt/insource
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="insource-gateway" \
      org.opencontainers.image.description="Insource: the gateway's agent and Envoy" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"


# Model servers for CPUs, with the small model that their tests and examples use.
FROM runtime AS servers
COPY --from=servers-dependencies /opt/python /opt/python
COPY --from=code /opt/insource /opt/insource
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="insource-servers" \
      org.opencontainers.image.description="Insource: model servers for CPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
