"""What may differ between a Docker Engine 26 and Stowage, and the heading of the reason in docs/compatibility.md."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAIN = "Where moby's main branch and Engine 26 differ, Stowage follows main"
VERIFIED = "Everything in an archive is verified before any of it is visible"
REFUSED = "Members of an archive that could do harm are refused"
BAD_NAME = "An OCI layout with an invalid name gives an untagged image"
IMPORTED = "The archive of an import is checked while it streams"
URLS = "Importing from a URL is off unless a setting allows it"
ENGINE = "`/info` and `/version` describe Stowage, not Docker"
PLAIN_ID = "An ID of 64 digits works for save as for everything else"
SIZES = "Sizes do not depend on what was unpacked"
TWIN = "A docker-archive's layer that is stored compressed is not stored again"
COMPLETE = "A pull reports the outcome of each layer"
AUX = "A push ends as in Docker's other image store"
CONNECTION = "A connection error names the request that failed, as main's does"
PLATFORMS = "Distribution inspect shows the platform of an OCI manifest too"


@dataclass(frozen=True, slots=True)
class Allowed:
    """Differences whose scenario and label and line match these patterns whole."""

    scenario: str
    label: str
    line: str
    reason: str

    def covers(self, scenario: str, label: str, line: str) -> bool:
        pairs = ((self.scenario, scenario), (self.label, label), (self.line, line))
        return all(re.fullmatch(pattern, text, re.DOTALL) for pattern, text in pairs)


ALLOWED = (
    # The first that covers a difference is its reason; one that covers none is out of date.
    Allowed(".*", ".*", r"\.body(\[\d+\])?\.Labels: want null, got \{\}", MAIN),
    Allowed(".*", ".*", r'\.body\.DockerVersion: want "26.*", got ""', MAIN),
    Allowed("odd_parameters", "/images/full/json 1.*", r'\.body\.Container(: extra ""|Config: want .* got null)', MAIN),
    Allowed("methods|bodies", "POST /auth|auth .*", r'\.status: want 500, got 400|\.body\.message: .* got "invalid '
                                                    r'X-Registry-Auth header: invalid JSON: .*', MAIN),
    Allowed("methods|bodies", "POST /images/full/push|push auth ", r"\.status: want 400, got 200|\.body.*", MAIN),
    Allowed("events", "events .*banana.*", r"\.status: want 500, got 400|\.body\.message: .* got \"invalid value for .*", MAIN),
    Allowed("disk_usage", "df of nothing.*", r"\.body\.(LayersSize|BuildCache|Containers|Volumes|Images): missing", MAIN),
    Allowed("disk_usage", "df images.*", r'\.body\[\d+\]\.(Descriptor: extra .*|(Labels|RepoTags|RepoDigests): '
                                         r'want "NoneType", got "(dict|list)")', MAIN),
    Allowed("pulls", "pull .*", r'\.body\..*: want ".*no match for platform in manifest: not '
                                r'found", got ".*no matching manifest for .*', MAIN),
    Allowed("pulls", "inspect pulled .*", r"\.body\.Repo(Tags|Digests): .*", MAIN),
    Allowed("repeated_changes", "list (after loading again|with an untagged image|without it)", r"\.body: .*", MAIN),
    Allowed("registry_questions", "distribution 1.29", r".*", MAIN),
    Allowed("registry_questions", "search .*", r'.*"Unexpected status code 404", got "unexpected status code 404"', MAIN),
    Allowed("special_images", "inspect emptyfs", r'\.body\.Os: want "linux", got ""', MAIN),
    Allowed("imports", "import 'EXPOSE banana'", r'.* got "invalid containerPort: banana"', MAIN),
    Allowed("engine", "/version .*", r"\.body\.(BuildTime: missing|Components: .*)", ENGINE),
    Allowed("engine", "/info .*", r"\.body\.((CgroupVersion|ExecutionDriver|KernelMemory|KernelMemoryTCP|Runtimes\..*): "
                                  r"missing|(Plugins\.|RegistryConfig\.|SecurityOptions).*)", ENGINE),
    Allowed("lists", "list shared-size=1", r".*SharedSize: .*", SIZES),
    Allowed("load_all_forms", "load classic-untagged.tar", r".*", TWIN),
    Allowed("imports", "import from .*", r'\.status: want 500, got 403|.* got "importing from a URL is switched off .*', URLS),
    Allowed("imports", "import(ed)? of (garbage|half)", r"\.status: .*|\.body.*", IMPORTED),
    Allowed("saves", "saved? [0-9a-f]{64}", r".*", PLAIN_ID),
    Allowed("pulls", "pull .*", r'\.body\.layers\.\w+: (want .*, got|extra) .*"(Pull complete|Already exists)"\]', COMPLETE),
    Allowed("pushes", "push .*", r'\.body\.rest: .*', AUX),
    Allowed("pushes", "push 127.*", r'\.body\.(layers\.\w+: missing|rest\[1\]\.error.* got "failed to do request: Head .*)', CONNECTION),
    Allowed("bodies", "auth .*serveraddress.*", r'.* connect: connection refused"', CONNECTION),
    Allowed("registry_questions", "distribution .*", r'\.body\.Platforms: want null, got \[\{"architecture": '
                                                     r'"amd64", "os": "linux"\}\]', PLATFORMS),
    Allowed("broken_archives", "(load|list after) broken-traversal.tar", r"\.body.*", REFUSED),
    Allowed("broken_archives", "load broken-name.tar", r"\.body.*", BAD_NAME),
    Allowed("broken_archives", "load .*", r"\.body\.rest\[0\]\.(error: want|errorDetail\.message: want|error: "
                                          r"extra|errorDetail: extra|stream: missing) ?.*", VERIFIED),
    Allowed("broken_archives", "list after .*", r"\.body: want \[\{.*, got \[\]", VERIFIED),
)  # fmt: skip
