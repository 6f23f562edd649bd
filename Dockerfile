# Build: everything with compiler and headers. Run: only what is needed, as an ordinary user.
FROM debian:12-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-dev python3-venv gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py requirements.lock README.md LICENSE ./
COPY native ./native
COPY gateway ./gateway
COPY bench ./bench
RUN python3 -m venv /opt/sluicegate \
    && /opt/sluicegate/bin/pip install --no-cache-dir .

FROM debian:12-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 libpcre2-8-0 libssl3 ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home-dir /var/lib/gateway --create-home gateway
COPY --from=build /opt/sluicegate /opt/sluicegate
ENV PATH=/opt/sluicegate/bin:$PATH \
    GATEWAY_PREFIX=/var/lib/gateway \
    GATEWAY_PROXY_ACCESS_LOG=/dev/stdout \
    GATEWAY_STATUS_LISTEN=127.0.0.1:8007
USER gateway
EXPOSE 8000
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["gateway", "health"]
ENTRYPOINT ["gateway"]
CMD ["start"]
