# The service on a small Debian, under a user without rights. It writes no files, so that its root can be read-only.
#
#   docker build -t facequality-transformer .                        # production: before a Triton
#   docker build -t facequality-transformer:demo --target demo .     # with the embedded models and the load test
#   docker run -p 8080:8080 facequality-transformer --predictor_host triton:8001

FROM rust:1.95-slim-bookworm AS toolchain
# make is what builds the allocator.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src

# The dependencies, in layers that stay while Cargo.toml and Cargo.lock do. Empty files stand for the targets that Cargo.toml names;
# of these only the library and the binary are built.
FROM toolchain AS production-dependencies
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches/service examples tests/hostile tests/parity \
    && echo 'fn main() {}' > build.rs && cp build.rs src/main.rs \
    && touch src/lib.rs benches/decode.rs benches/pixel.rs benches/service/main.rs \
        examples/image_classifier.rs examples/faces_and_pose.rs examples/two_tensors.rs \
        tests/main.rs tests/hostile/main.rs tests/parity/main.rs \
    && cargo build --profile dist --locked --no-default-features --features otlp

FROM production-dependencies AS demo-dependencies
RUN cargo build --profile dist --locked

# Sources are touched, because Cargo takes those that are older than the empty files for built.
FROM production-dependencies AS production-build
COPY build.rs ./
COPY proto proto
COPY src src
COPY data/images/astronaut.jpg data/images/
RUN find build.rs proto src -exec touch {} + \
    && cargo build --profile dist --locked --no-default-features --features otlp

FROM demo-dependencies AS demo-build
COPY build.rs ./
COPY proto proto
COPY src src
COPY data/images/astronaut.jpg data/images/
COPY data/models data/models
RUN find build.rs proto src -exec touch {} + \
    && cargo build --profile dist --locked

FROM debian:bookworm-slim AS runtime
# Certificate authorities for items by https and for a predictor over TLS.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY LICENSE THIRD-PARTY.md /usr/share/doc/facequality-transformer/
# A number, so that Kubernetes can check runAsNonRoot.
USER 65532:65532
EXPOSE 8080 8081
# No shell in between: SIGTERM reaches the service, which then drains.
ENTRYPOINT ["/usr/local/bin/facequality-transformer"]

FROM runtime AS demo
COPY --from=demo-build /src/target/dist/facequality-transformer /usr/local/bin/facequality-transformer

FROM runtime AS production
COPY --from=production-build /src/target/dist/facequality-transformer /usr/local/bin/facequality-transformer
