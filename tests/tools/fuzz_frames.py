"""Fuzzes framing, codec and params: any bytes are decoded or refused with an RpcError, in bounded memory.

`python tests/tools/fuzz_frames.py --seconds 60` searches for bytes that break this, guided by coverage. It needs
atheris (from PyPI) and says so if it is missing. tests/test_fuzz.py runs the same check on generated examples.
"""

import argparse
import importlib
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

GOLDEN: Final = Path(__file__).parents[1] / "golden" / "commands.json"
LIMIT: Final = 4096  # bytes of a message
PIECES: Final = (1, 7, 64, 4096)


class Target:
    """The code to fuzz. It is imported in `__init__`, because atheris has to instrument the import."""

    def __init__(self) -> None:
        import msgspec

        from treadle.contract import errors, framing
        from treadle.server import codec, params
        from treadle.server.handlers import Methods
        from treadle.server.session import RawCancelParams

        self.codec, self.params, self.errors, self.framing = codec, params, errors, framing
        methods: Any = Methods(None)  # type: ignore[arg-type]  # the table of methods needs no daemon
        self.decoders = {method.name: msgspec.json.Decoder(method.params) for method in methods.table()}
        self.decoders["$/cancelRequest"] = msgspec.json.Decoder(RawCancelParams)
        self.frames = self.errors_seen = 0

    def take(self, data: bytes) -> None:
        """Decode a whole stream. Its first byte chooses the size of the pieces. Any exception is a bug."""
        piece = PIECES[data[0] % len(PIECES)] if data else 1
        decoder = self.framing.FrameDecoder(LIMIT)
        for start in range(1, len(data), piece):
            for found in decoder.feed(data[start : start + piece]):
                self.take_frame(found)
            buffered = len(decoder._buffer)
            assert buffered <= LIMIT + piece + self.framing.MAX_HEADER_BYTES, f"{buffered} bytes are kept"
        if (last := decoder.end()) is not None:
            self.take_frame(last)

    def take_frame(self, found: Any) -> None:
        self.frames += 1
        if isinstance(found, self.errors.RpcError):
            self.answer(self.codec.NULL_ID, found)
            return
        assert len(found) <= LIMIT, f"a frame of {len(found)} bytes"
        messages = self.codec.decode_body(found)
        for message in messages if isinstance(messages, list) else [messages]:
            if isinstance(message, self.codec.Invalid):
                self.answer(message.id, message.error)
            if isinstance(message, self.codec.Request | self.codec.Response):
                hash(message.key)
            if isinstance(message, self.codec.Request | self.codec.Notification):
                message.method.encode()
                for decoder in self.decoders.values():
                    self.take_params(message, decoder)

    def take_params(self, message: Any, decoder: Any) -> None:
        try:
            self.params.decode_params(message.params, decoder)
        except self.errors.RpcError as error:
            self.answer(getattr(message, "id", self.codec.NULL_ID), error)

    def answer(self, id: Any, error: Any) -> None:
        """Check that the error is encoded as one line of JSON."""
        self.errors_seen += 1
        body = self.codec.encode_error(id, error)
        assert b"\n" not in body
        body.decode()


def seeds() -> list[bytes]:
    """The initial corpus: valid streams in both framings, and some malformed ones."""
    found = []
    for of_type in json.loads(GOLDEN.read_text("utf-8")).values():
        for command in of_type.values():
            message = {"jsonrpc": "2.0", "id": 1, "method": "command/dispatch", "params": command}
            body = json.dumps(message, ensure_ascii=False).encode()
            found += [b"\x03" + body + b"\n", b"\x02Content-Length: %d\r\n\r\n%b" % (len(body), body)]
    odd = [
        b'\x01[{"jsonrpc":"2.0","id":1e999,"method":"x"},{"id":"\\ud800"},1,"\\u0000"]\n',
        b'\x01{"jsonrpc":"2.0","id":null,"method":"event/list","params":{"afterSequence":' + b"9" * 400 + b"}}\n",
        b"\x01Content-Length: 99999999999\r\n\r\n{}Content-Length: 2\r\n\r\n{}",
        b"\x01Content-Length: 2\r\nContent-Type: text/plain; charset=latin-1\r\n\r\n{}",
        b"\x00\n\n\r\n" + b"[" * 200 + b"]" * 200 + b"\n",
    ]
    return found + odd


def fuzz(seconds: int) -> tuple[str, int]:
    """Fuzz for these seconds in a separate process; return what was tried, and the number of failures."""
    if importlib.util.find_spec("atheris") is None:
        return "skipped: atheris is not installed (pip install atheris)", 0
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(seeds()):
            (corpus / f"{number}").write_bytes(seed)
        options = [
            f"-max_total_time={seconds}",
            "-max_len=20000",
            "-rss_limit_mb=1024",
            "-timeout=20",
            "-close_fd_mask=0",
        ]
        done = subprocess.run(
            [sys.executable, __file__, "--libfuzzer", *options, f"-artifact_prefix={folder}/", str(corpus)],
            capture_output=True,
            text=True,
            errors="replace",
        )
        runs = re.search(r"^Done (\d+) runs in (\d+)", done.stderr, re.MULTILINE)
        coverage = re.findall(r"cov: (\d+)", done.stderr)
        if done.returncode != 0 or runs is None:
            crash = next(Path(folder).glob("*-*"), None)
            what = "" if crash is None else repr(crash.read_bytes()[:2000])
            return f"{done.stdout[-2000:]}{done.stderr[-4000:]}\n{what}", 1
        return f"{int(runs[1]):,} streams in {runs[2]} s, {coverage[-1]} edges covered", 0


def libfuzzer(options: list[str]) -> None:
    """Run libFuzzer in this process. Never returns."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["treadle.server", "treadle.contract"]):
        target = Target()
    atheris.Setup([sys.argv[0], *options], target.take)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz framing, codec and params.")
    parser.add_argument("--seconds", type=int, default=60)
    text, failures = fuzz(parser.parse_args().seconds)
    print(text)
    return 1 if failures else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--libfuzzer"]:
        libfuzzer(sys.argv[2:])
    sys.exit(main())
