"""GET /info: the host and the settings that clients ask for.

Source: moby api/types/system/info.go and daemon/server/router/system/system_routes.go getInfo.
"""

from flask import Blueprint, Response
from marshmallow import fields

from stowage.blueprints.request import engine
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import ResponseSchema, until
from stowage.services.system.info import read_info

blueprint = Blueprint("system_info", __name__)

_NO_SWARM = {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False, "Error": "", "RemoteManagers": None}
_NO_PLUGINS: dict[str, list[str] | None] = {"Volume": [], "Network": [], "Authorization": None, "Log": []}
_NONE: list[str] = []
_NO_RUNTIMES: dict[str, object] = {}


class CommitResponse(ResponseSchema):
    id = fields.Constant("", data_key="ID")
    expected = fields.Constant("", data_key="Expected", metadata=until("1.49"))


class IndexResponse(ResponseSchema):
    name = fields.String(data_key="Name")
    mirrors = fields.List(fields.String(), data_key="Mirrors")
    secure = fields.Boolean(data_key="Secure")
    official = fields.Boolean(data_key="Official")


class RegistriesResponse(ResponseSchema):
    no_foreign_cidrs = fields.Constant(None, data_key="AllowNondistributableArtifactsCIDRs", metadata=until("1.47"))
    no_foreign_names = fields.Constant(None, data_key="AllowNondistributableArtifactsHostnames", metadata=until("1.47"))
    insecure_networks = fields.List(fields.String(), data_key="InsecureRegistryCIDRs")
    indexes = fields.Dict(values=fields.Nested(IndexResponse), data_key="IndexConfigs")
    mirrors = fields.List(fields.String(), data_key="Mirrors")


class InfoResponse(ResponseSchema):
    id = fields.String(data_key="ID")
    containers = fields.Constant(0, data_key="Containers")
    containers_running = fields.Constant(0, data_key="ContainersRunning")
    containers_paused = fields.Constant(0, data_key="ContainersPaused")
    containers_stopped = fields.Constant(0, data_key="ContainersStopped")
    images = fields.Integer(data_key="Images")
    driver = fields.String(data_key="Driver")
    driver_status = fields.List(fields.List(fields.String()), data_key="DriverStatus")
    plugins = fields.Constant(_NO_PLUGINS, data_key="Plugins")
    memory_limit = fields.Constant(False, data_key="MemoryLimit")
    swap_limit = fields.Constant(False, data_key="SwapLimit")
    cpu_period = fields.Constant(False, data_key="CpuCfsPeriod")
    cpu_quota = fields.Constant(False, data_key="CpuCfsQuota")
    cpu_shares = fields.Constant(False, data_key="CPUShares")
    cpu_set = fields.Constant(False, data_key="CPUSet")
    pids_limit = fields.Constant(False, data_key="PidsLimit")
    ipv4_forwarding = fields.Constant(False, data_key="IPv4Forwarding")
    bridge_iptables = fields.Constant(False, data_key="BridgeNfIptables", metadata=until("1.50"))
    bridge_ip6tables = fields.Constant(False, data_key="BridgeNfIp6tables", metadata=until("1.50"))
    debug = fields.Constant(False, data_key="Debug")
    descriptors = fields.Integer(data_key="NFd")
    oom_kill_disable = fields.Constant(False, data_key="OomKillDisable")
    threads = fields.Integer(data_key="NGoroutines")
    time = fields.String(data_key="SystemTime")
    logging_driver = fields.Constant("", data_key="LoggingDriver")
    cgroup_driver = fields.Constant("none", data_key="CgroupDriver")
    event_listeners = fields.Constant(0, data_key="NEventsListener")
    kernel = fields.String(data_key="KernelVersion")
    operating_system = fields.String(data_key="OperatingSystem")
    os_version = fields.String(data_key="OSVersion")
    os = fields.String(data_key="OSType")
    machine = fields.String(data_key="Architecture")
    index_server = fields.Constant("https://index.docker.io/v1/", data_key="IndexServerAddress")
    registries = fields.Nested(RegistriesResponse, data_key="RegistryConfig")
    processors = fields.Integer(data_key="NCPU")
    memory = fields.Integer(data_key="MemTotal")
    generic_resources = fields.Constant(None, data_key="GenericResources")
    root = fields.String(data_key="DockerRootDir")
    http_proxy = fields.String(data_key="HttpProxy")
    https_proxy = fields.String(data_key="HttpsProxy")
    no_proxy = fields.String(data_key="NoProxy")
    hostname = fields.String(data_key="Name")
    labels = fields.Constant(_NONE, data_key="Labels")
    experimental = fields.Constant(False, data_key="ExperimentalBuild")
    version = fields.String(data_key="ServerVersion")
    runtimes = fields.Constant(_NO_RUNTIMES, data_key="Runtimes")
    default_runtime = fields.Constant("", data_key="DefaultRuntime")
    swarm = fields.Constant(_NO_SWARM, data_key="Swarm")
    live_restore = fields.Constant(False, data_key="LiveRestoreEnabled")
    isolation = fields.Constant("", data_key="Isolation")
    init_binary = fields.Constant("", data_key="InitBinary")
    containerd_commit = fields.Nested(CommitResponse, data_key="ContainerdCommit", dump_default={})
    runc_commit = fields.Nested(CommitResponse, data_key="RuncCommit", dump_default={})
    init_commit = fields.Nested(CommitResponse, data_key="InitCommit", dump_default={})
    security_options = fields.Constant(_NONE, data_key="SecurityOptions")
    cdi_directories = fields.Constant(_NONE, data_key="CDISpecDirs")
    warnings = fields.List(fields.String(), data_key="Warnings")


@blueprint.get("/info", answer=Answer(InfoResponse), pace="quick")
def system_info() -> Response:
    """GET /info."""
    return dump(read_info(engine()))
