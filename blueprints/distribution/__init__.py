"""Operations on a registry that store nothing here: one file each."""

from flask import Blueprint

from stowage.blueprints.distribution import inspect

BLUEPRINTS: tuple[Blueprint, ...] = (inspect.blueprint,)
