"""Operations of the engine itself: one file each."""

from flask import Blueprint

from stowage.blueprints.system import absent, auth, blobs, df, events, healthz, info, metrics, openapi, options, ping, readyz, version

BLUEPRINTS: tuple[Blueprint, ...] = (
    ping.blueprint,
    healthz.blueprint,
    readyz.blueprint,
    metrics.blueprint,
    version.blueprint,
    info.blueprint,
    auth.blueprint,
    df.blueprint,
    events.blueprint,
    openapi.blueprint,
    absent.blueprint,
    blobs.blueprint,
    options.blueprint,
)
