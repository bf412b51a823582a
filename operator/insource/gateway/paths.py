"""Where the gateway's two processes keep their files and meet by sockets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LONGEST_SOCKET_PATH = 107


@dataclass(frozen=True)
class GatewayPaths:
    """Files of one gateway. `state_dir` survives restarts, `run_dir` holds sockets and must be a short path."""

    state_dir: Path
    run_dir: Path

    @staticmethod
    def make(state_dir: Path, run_dir: Path) -> GatewayPaths:
        """Create both folders, private to this user. ValueError if a socket's path would be too long."""
        for folder in (state_dir, run_dir):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        paths = GatewayPaths(state_dir.resolve(), run_dir.resolve())
        if len(str(paths.admin_socket)) > LONGEST_SOCKET_PATH:
            raise ValueError(
                f"--run-dir {run_dir} is too long for a unix socket: use a folder under the temporary folder"
            )
        return paths

    @property
    def ads_socket(self) -> Path:
        return self.run_dir / "ads.sock"

    @property
    def admin_socket(self) -> Path:
        return self.run_dir / "envoy-admin.sock"

    @property
    def reentry_socket(self) -> Path:
        return self.run_dir / "reentry.sock"

    @property
    def hold_socket(self) -> Path:
        return self.run_dir / "hold.sock"

    @property
    def plain_socket(self) -> Path:
        """Where Envoy brings plain `/v1/...`."""
        return self.run_dir / "plain.sock"

    @property
    def access_log(self) -> Path:
        return self.state_dir / "access.log"

    @property
    def bootstrap(self) -> Path:
        return self.state_dir / "bootstrap.json"

    @property
    def listeners(self) -> Path:
        return self.state_dir / "listeners.json"

    @property
    def tls(self) -> Path:
        """Where the certificate is; it names files, and holds no key."""
        return self.state_dir / "tls.json"

    @property
    def snapshot(self) -> Path:
        """The last known world, with keys: mode 0600."""
        return self.state_dir / "snapshot.json"

    @property
    def evidence(self) -> Path:
        return self.state_dir / "evidence.json"

    @property
    def outbox(self) -> Path:
        """Sightings that the ledger does not have yet."""
        return self.state_dir / "sightings"

    @property
    def shipped(self) -> Path:
        return self.outbox / "shipped.json"

    @property
    def spool(self) -> Path:
        return self.state_dir / "spool"
