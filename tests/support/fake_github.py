"""GitHub's API on loopback: the operations that Kernel Gate needs, held to GitHub's own description of them.

Every request is recorded, and checked against `fixtures/openapi.json`; what GitHub would not take is a test's failure
(`complaints`). `faults` are answers to give instead of the next ones: see `Fault`.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import jsonschema

DESCRIPTION = json.loads((Path(__file__).parent / "fixtures" / "openapi.json").read_text())
SEEN, BOT = "2026-11-21T10:00:00Z", "github-actions[bot]"
MOST_BODY = 65_536
CLASSIFIERS = ("SPAM", "ABUSE", "OFF_TOPIC", "OUTDATED", "DUPLICATE", "RESOLVED")


@dataclass(frozen=True)
class Request:
    """One request, as it came."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    token: str

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Fault:
    """What to answer once instead; `after` does what was asked first. A status of 0 closes the connection,
    and one of -1 answers nothing until the server ends."""

    status: int
    message: str = "fault"
    headers: dict[str, str] = field(default_factory=dict)
    on: str = ""
    """Only for requests whose `METHOD path` holds this."""
    after: bool = False


@dataclass
class Github:
    """The repository's state; tests change it as people on GitHub would."""

    repository: str = "octo/kernels"
    prefix: str = ""
    pulls: dict[int, dict[str, Any]] = field(default_factory=dict)
    comments: list[dict[str, Any]] = field(default_factory=list)
    commits: dict[str, dict[str, Any]] = field(default_factory=dict)
    permissions: dict[str, str] = field(default_factory=dict)
    merge_bases: dict[str, str] = field(default_factory=dict)
    trees: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Per commit, the paths that are there."""
    texts: dict[str, str] = field(default_factory=dict)
    """What is in a path, at every commit; nothing, where it is not named."""
    compared: dict[str, list[str]] = field(default_factory=dict)
    """Per `base...head`, the files that changed."""
    files: dict[int, list[str]] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    writers: tuple[str, ...] = ("write-token",)
    """Tokens that may write."""
    author: str = BOT
    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    minimized: dict[str, str] = field(default_factory=dict)
    before: list[tuple[str, Callable[[], None]]] = field(default_factory=list)
    """What somebody else does just before the next request whose line holds the text."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    def lines(self, method: str = "") -> list[str]:
        return [each.line for each in self.requests if each.line.startswith(method)]

    def writes(self) -> list[str]:
        return [each.line for each in self.requests if each.method != "GET"]

    def pull(self, number: int, sha: str, *, fork: bool = False, state: str = "open", merged: bool = False) -> None:
        head = {"sha": sha, "ref": "topic", "repo": {"full_name": "mallory/kernels" if fork else self.repository}}
        self.pulls[number] = {
            "number": number, "state": state, "merged": merged, "head": head,
            "base": {"sha": "b" * 40, "ref": "main", "repo": {"full_name": self.repository}},
            "url": f"{self.url}/repos/{self.repository}/pulls/{number}",
            "issue_url": f"{self.url}/repos/{self.repository}/issues/{number}",
        }  # fmt: skip

    def commit(self, sha: str, message: str, files: tuple[str, ...] = ()) -> None:
        self.commits[sha] = {"sha": sha, "commit": {"message": message}, "files": [_file(name) for name in files]}

    def comment(self, pr: int, body: str, author: str | None = None) -> dict[str, Any]:
        number = 100 + len(self.comments)
        url = f"{self.url}/repos/{self.repository}/issues/comments/{number}"
        made = {
            "id": number, "node_id": f"IC_{number}", "body": body, "url": url, "pr": pr, "deleted": False,
            "html_url": f"https://github.test/{self.repository}/pull/{pr}#issuecomment-{number}",
            "user": {"login": author or self.author, "id": 1, "type": "Bot"},
            "created_at": SEEN, "updated_at": SEEN,
            "issue_url": f"{self.url}/repos/{self.repository}/issues/{pr}",
        }  # fmt: skip
        self.comments.append(made)
        return made

    def bodies(self, pr: int) -> list[str]:
        return [each["body"] for each in self.comments if each["pr"] == pr and not each["deleted"]]


Answer = tuple[int, Any, dict[str, str]]
NOT_FOUND: Answer = 404, {"message": "Not Found"}, {}


def _part(name: re.Match[str]) -> str:
    """A file's path has slashes; nothing else in a path does."""
    return f"(?P<{name[1]}>{'.+' if name[1] == 'path' else '[^/]+'})"


def operation(method: str, path: str) -> tuple[dict[str, Any], dict[str, str]] | None:
    """GitHub's own description of a request, and what its path holds."""
    for template, methods in DESCRIPTION["paths"].items():
        form = re.sub(r"\\\{(\w+)\\\}", _part, re.escape(template))
        found = re.fullmatch(form, path)
        if found and method.lower() in methods:
            return methods[method.lower()], found.groupdict()
    return None


def complain(request: Request) -> str:
    """What GitHub's description says against a request; empty where nothing does."""
    known = operation(request.method, request.path)
    if known is None:
        return f"{request.line} is no operation of GitHub's"
    described, in_path = known
    given = {"path": in_path, "query": request.query, "header": {}}
    for parameter in described["parameters"]:
        value = given[parameter["in"]].get(parameter["name"])
        if value is None:
            if parameter.get("required"):
                return f"{request.line} lacks {parameter['name']}"
        elif parameter["schema"]["type"] == "integer" and not value.isdigit():
            return f"{request.line}: {parameter['name']} is no number: {value}"
    unknown = set(request.query) - {each["name"] for each in described["parameters"] if each["in"] == "query"}
    if unknown:
        return f"{request.line}: unknown in the query: {sorted(unknown)}"
    return _complain_of_body(request, described)


def _complain_of_body(request: Request, described: dict[str, Any]) -> str:
    wanted = described.get("requestBody")
    if wanted is None:
        return f"{request.line} takes no body" if request.body else ""
    try:
        jsonschema.validate(request.body, wanted["content"]["application/json"]["schema"])
    except jsonschema.ValidationError as error:
        return f"{request.line}: {error.message}"
    return ""


def complain_of_graphql(request: Request) -> str:
    """The one mutation that is known: minimizeComment, by the fields of GitHub's GraphQL reference."""
    asked = (request.body or {}).get("variables", {}).get("input", {})
    if "minimizeComment" not in request.body.get("query", ""):
        return "an unknown mutation"
    if set(asked) - {"clientMutationId"} != {"subjectId", "classifier"} or asked["classifier"] not in CLASSIFIERS:
        return f"minimizeComment takes subjectId and classifier, not {asked}"
    return ""


class Handler(BaseHTTPRequestHandler):
    """Routes; the state is the server's."""

    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Silent."""

    def _any(self) -> None:
        state = self.server.state
        with self.server.lock:
            request = self._read(state)
            state.requests.append(request)
            for index, (text, act) in enumerate(state.before):
                if text in request.line:
                    del state.before[index]
                    act()
                    break
            fault = self._fault(state, request)
            if fault is not None and not fault.after:
                answer: Answer = fault.status, {"message": fault.message}, fault.headers
            else:
                answer = self._answer(state, request)
                if fault is not None:
                    answer = fault.status, {"message": fault.message}, fault.headers
        self._send(*answer)

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _any  # noqa: N815

    def _read(self, state: Github) -> Request:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        parts = urlsplit(self.path)
        token = (self.headers.get("Authorization") or "").rpartition(" ")[2]
        path = parts.path.removeprefix(state.prefix)
        return Request(self.command, path, dict(parse_qsl(parts.query)), json.loads(raw) if raw else None, token)

    def _fault(self, state: Github, request: Request) -> Fault | None:
        found = next((each for each in state.faults if each.on in request.line), None)
        if found is not None:
            state.faults.remove(found)
        return found

    def _send(self, status: int, body: Any, headers: dict[str, str]) -> None:
        if status == -1:
            self.server.ending.wait()
        if status <= 0:
            self.close_connection = True
            self.connection.close()
            return
        raw = b"" if status == 204 else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers, "Content-Length": str(len(raw))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def _answer(self, state: Github, request: Request) -> Answer:
        is_graphql = request.path.endswith("/graphql")
        complaint = complain_of_graphql(request) if is_graphql else complain(request)
        if complaint:
            state.complaints.append(complaint)
            return 422, {"message": complaint}, {}
        if request.method != "GET" and request.token not in state.writers:
            return 403, {"message": "Resource not accessible by integration"}, {}
        if is_graphql:
            return self._minimize(state, request)
        described, where = operation(request.method, request.path) or ({}, {})
        if f"{where['owner']}/{where['repo']}" != state.repository:
            return NOT_FOUND
        return ROUTES[described["operationId"]](state, request, where)

    def _minimize(self, state: Github, request: Request) -> Answer:
        asked = request.body["variables"]["input"]
        state.minimized[asked["subjectId"]] = asked["classifier"]
        return 200, {"data": {"minimizeComment": {"minimizedComment": {"isMinimized": True}}}}, {}


def _repository(state: Github, request: Request, where: dict[str, str]) -> Answer:
    return 200, {"full_name": state.repository, "name": where["repo"], "default_branch": "main"}, {}


def _pull(state: Github, request: Request, where: dict[str, str]) -> Answer:
    found = state.pulls.get(int(where["pull_number"]))
    return (200, found, {}) if found else NOT_FOUND


def _pull_files(state: Github, request: Request, where: dict[str, str]) -> Answer:
    names = state.files.get(int(where["pull_number"]), [])
    moved = {new: {"previous_filename": old, "status": "renamed"} for new, old in state.renamed.items()}
    return _page(state, request, [{**_file(each), **moved.get(each, {})} for each in names])


def _file(name: str) -> dict[str, Any]:
    return {"filename": name, "status": "modified", "sha": "1" * 40}


def _list(state: Github, request: Request, where: dict[str, str]) -> Answer:
    pr = int(where["issue_number"])
    if pr not in state.pulls:
        return NOT_FOUND
    return _page(state, request, [each for each in state.comments if each["pr"] == pr and not each["deleted"]])


def _page(state: Github, request: Request, every: list[Any]) -> Answer:
    size, page = int(request.query.get("per_page", 30)), int(request.query.get("page", 1))
    if size > 100:
        return 422, {"message": "per_page is at most 100"}, {}
    headers = {}
    if page * size < len(every):
        following = f"{state.url}{request.path}?per_page={size}&page={page + 1}"
        headers["Link"] = f'<{following}>; rel="next"'
    return 200, every[(page - 1) * size : page * size], headers


def _create(state: Github, request: Request, where: dict[str, str]) -> Answer:
    pr = int(where["issue_number"])
    if pr not in state.pulls:
        return NOT_FOUND
    if len(request.body["body"]) > MOST_BODY:
        return TOO_LONG
    return 201, state.comment(pr, request.body["body"]), {}


TOO_LONG: Answer = 422, {"message": f"Body is too long (maximum is {MOST_BODY} characters)"}, {}


def _find(state: Github, where: dict[str, str]) -> dict[str, Any] | None:
    number = int(where["comment_id"])
    return next((each for each in state.comments if each["id"] == number and not each["deleted"]), None)


def _edit(state: Github, request: Request, where: dict[str, str]) -> Answer:
    found = _find(state, where)
    if found is None:
        return NOT_FOUND
    if len(request.body["body"]) > MOST_BODY:
        return TOO_LONG
    found["body"] = request.body["body"]
    return 200, found, {}


def _delete(state: Github, request: Request, where: dict[str, str]) -> Answer:
    found = _find(state, where)
    if found is None:
        return NOT_FOUND
    found["deleted"] = True
    return 204, None, {}


def _commit(state: Github, request: Request, where: dict[str, str]) -> Answer:
    found = state.commits.get(where["ref"])
    return (200, found, {}) if found else (422, {"message": f"No commit found for SHA: {where['ref']}"}, {})


def _content(state: Github, request: Request, where: dict[str, str]) -> Answer:
    held = state.trees.get(request.query.get("ref", ""), ())
    path = unquote(where["path"])
    if path in held:
        text = base64.b64encode(state.texts.get(path, "").encode()).decode()
        return 200, {**_entry(path, "file"), "encoding": "base64", "content": text}, {}
    below = dict.fromkeys(each.removeprefix(f"{path}/") for each in held if each.startswith(f"{path}/"))
    kinds = {each.partition("/")[0]: "dir" if "/" in each else "file" for each in below}
    return (200, [_entry(f"{path}/{name}", kind) for name, kind in kinds.items()], {}) if kinds else NOT_FOUND


def _entry(path: str, kind: str) -> dict[str, Any]:
    return {"type": kind, "size": 0, "name": path.rpartition("/")[2], "path": path, "sha": "1" * 40}


def _compare(state: Github, request: Request, where: dict[str, str]) -> Answer:
    found = state.merge_bases.get(where["basehead"].rpartition("...")[2])
    files = [_file(name) for name in state.compared.get(where["basehead"], [])][:300]
    return (200, {"merge_base_commit": {"sha": found}, "files": files, "commits": []}, {}) if found else NOT_FOUND


def _permission(state: Github, request: Request, where: dict[str, str]) -> Answer:
    level = state.permissions.get(where["username"], "none")
    return 200, {"permission": level, "role_name": level, "user": {"login": where["username"]}}, {}


ROUTES: dict[str, Callable[[Github, Request, dict[str, str]], Answer]] = {
    "repos/get": _repository,
    "pulls/get": _pull,
    "pulls/list-files": _pull_files,
    "issues/list-comments": _list,
    "issues/create-comment": _create,
    "issues/update-comment": _edit,
    "issues/delete-comment": _delete,
    "repos/get-commit": _commit,
    "repos/get-content": _content,
    "repos/compare-commits-with-basehead": _compare,
    "repos/get-collaborator-permission-level": _permission,
}


class Server(ThreadingHTTPServer):
    """Threads, so that a client that gave up does not hold up the next request."""

    daemon_threads = True

    def __init__(self, state: Github) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.state, self.lock, self.ending = state, threading.Lock(), threading.Event()


@contextmanager
def serve(state: Github | None = None) -> Iterator[Github]:
    """A fake GitHub that answers until the block ends."""
    state = state or Github()
    server = Server(state)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()
