"""The git remote of a project: the same for each clone of a repository, and never with a secret in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.domain.remotes import LONGEST, normalized_remote

APP = "example.org/team/app"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/team/app",
        "https://user:token@Example.org:443/team/app.git/",
        "https://token@example.org/team/app.git",
        "http://EXAMPLE.org:80//team/app/",
        "https://example.org/team/app.git?private_token=abc#readme",
        "https://example.org/team%2Fapp",
        "git@example.org:team/app.git",
        "example.org:team/app",
        "git@example.org:/team/app/.git",
        "git:token@example.org:team/app",
        "ssh://git@example.org:22/team/app",
        "ssh://git@example.org/team/app.git/",
        "git+ssh://git@example.org/team/app",
        "git://example.org:9418/team/app.git",
        "git://example.org/team/app/.git/",
    ],
)
def test_each_way_to_fetch_a_repository_is_one_remote(url: str) -> None:
    assert normalized_remote(url) == APP


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("https://example.org:8443/team/app", "example.org:8443/team/app"),
        ("ssh://git@example.org:2222/team/app.git", "example.org:2222/team/app"),
        ("https://example.org/Team/App.git", "example.org/Team/App"),
        ("https://example.org/a/b/c/d.git", "example.org/a/b/c/d"),
        ("https://example.org/team/app.github", "example.org/team/app.github"),
        ("ssh://git@[::1]:22/team/app", "[::1]/team/app"),
        ("git@[::1]:team/app", "[::1]/team/app"),
        ("git@example.org:~ada/app", "example.org/~ada/app"),
        ("https://example.org/My%20Team/app", "example.org/My Team/app"),
        ("https://bücher.example/Straße", "bücher.example/Straße"),
        ("work:team/app", "work/team/app"),
    ],
)
def test_what_tells_repositories_apart_is_kept(url: str, remote: str) -> None:
    assert normalized_remote(url) == remote


@pytest.mark.parametrize(
    "url",
    [
        *("", ".", "..", "/srv/git/app.git", "../app", "./with:colon", "app.git", "file:///srv/git/app.git"),
        *("https://", "https:///team/app", "https://example.org", "https://example.org/", "https://example.org/.git"),
        *("https://example.org:port/team/app", "https://example.org:99999/team/app", "https://[example.org/team/app"),
        *("ext::sh -c run", "codecommit::eu-west-1://app", "s3://bucket/app", "git@example.org:", "://", ":", "@:"),
        *("https://example.org/team/\x00app", "https://example.org/team/%0Aapp", "git@example.org:team/\x1b[31mapp"),
        *("https://user:pass/word@example.org/team/app", "https://user:12/34@example.org/team/app"),
        *("https://user:12/34#5@example.org/team/app", "user:12/34@example.org:team/app"),
        "https://example.org/" + "a" * LONGEST,
    ],
)
def test_a_path_of_this_machine_and_what_is_no_address_are_no_remote(url: str) -> None:
    assert normalized_remote(url) is None


def test_a_folder_of_the_repository_follows_two_slashes() -> None:
    assert normalized_remote("git@example.org:team/app.git", "Web/src") == f"{APP}//Web/src"
    assert normalized_remote("https://example.org//team//app", "web") == f"{APP}//web"
    assert normalized_remote("/srv/git/app.git", "web") is None
    assert normalized_remote("git@example.org:team/app", "caf\udce9") is None
    assert normalized_remote("git@example.org:team/app", "w" * LONGEST) is None


around = st.text("/:@?#%[]\\ .é0", max_size=6)


@given(
    form=st.sampled_from(
        ["https://{}@example.org/team/app.git", "ssh://{}@example.org/team/app", "{}@example.org:app"]
    ),
    password=st.tuples(around, around).map("s3cr3t".join),
    user=st.sampled_from(["", "u:", "u"]),
)
def test_no_password_however_it_is_written_is_in_a_remote(form: str, password: str, user: str) -> None:
    remote = normalized_remote(form.format(user + password))
    assert remote is None or "s3cr3t" not in remote
