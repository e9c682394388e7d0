# The image is one file: the program, linked statically. Nothing is run while it
# is built, so an image for another architecture needs no emulation, and a build
# needs no network. `make image` builds the program first, with the same Go that
# builds everything else, and puts it where COPY looks for it.
#
# No certificates: a gateway trusts the CA file that its configuration names. No
# zone files: they are in the program. No passwd: the user is a number.
#
# No VOLUME either: a gateway whose state nobody mounted has to say so, and not
# to write into a volume that is gone with the container.
FROM scratch
ARG TARGETARCH
LABEL org.opencontainers.image.title="Fieldseal" \
      org.opencontainers.image.description="A gateway for plant floors that keeps sensitive data sealed from the boundary to the reader" \
      org.opencontainers.image.source="https://github.com/fieldseal/fieldseal" \
      org.opencontainers.image.documentation="https://github.com/fieldseal/fieldseal/blob/main/docs/container.md" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --chmod=0555 bin/image/${TARGETARCH}/fieldseal /fieldseal
USER 65532:65532
ENTRYPOINT ["/fieldseal"]
CMD ["run"]
