# The service on a small Debian, under a user without rights.
#
#   docker build -t facequality-transformer .
#   docker run -p 8080:8080 -p 8081:8081 facequality-transformer --predictor_host triton:8001

FROM rust:1.95-slim-bookworm AS build
# make is what builds the allocator.
RUN apt-get update \
    && apt-get install -y --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked \
    && cp target/dist/facequality-transformer /facequality-transformer

FROM debian:bookworm-slim
# Certificate authorities for items by https and for a predictor over TLS.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY LICENSE THIRD-PARTY.md /usr/share/doc/facequality-transformer/
COPY --from=build /facequality-transformer /usr/local/bin/facequality-transformer
# A number, so that Kubernetes can check runAsNonRoot.
USER 65532:65532
EXPOSE 8080 8081
# No shell in between: SIGTERM reaches the service, which then drains.
ENTRYPOINT ["/usr/local/bin/facequality-transformer"]
