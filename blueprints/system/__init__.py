"""Operations of the engine itself: one file each."""

from flask import Blueprint

from stowage.blueprints.system import absent, auth, blobs, df, events, info, openapi, options, ping, version

BLUEPRINTS: tuple[Blueprint, ...] = (
    ping.blueprint,
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
