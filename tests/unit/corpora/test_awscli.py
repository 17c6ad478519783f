"""The embedded data set is read from packages that the tests make of literal text."""

import gzip
import json

import pytest

from ddro.core.command import UserError
from ddro.core.packages import package_folder
from ddro.corpora.awscli import (
    Need,
    Phrase,
    document,
    information_needs,
    operation_models,
    phrases,
    read_model,
    read_packages,
)

LONG = "<p>Puts one <b>object</b> into a bucket of yours.</p>"  # 8 words
MEMBERS = {
    "Bucket": {"shape": "Text", "documentation": "<p>The bucket's name. It must exist.</p>"},
    "Key": {"shape": "Text"},
}


def model(name="Amazon Simple Storage Service", operations=None, members=MEMBERS):
    return {
        "metadata": {"serviceFullName": name},
        "operations": operations or {"PutObject": {"documentation": LONG, "input": {"shape": "PutObjectRequest"}}},
        "shapes": {"PutObjectRequest": {"type": "structure", "members": members}},
    }


@pytest.fixture
def packages(tmp_path):
    """Folders of a fake awscli and a fake botocore, and functions that add an example and a model."""
    awscli, botocore = tmp_path / "awscli", tmp_path / "botocore"

    def add_example(command, name, text):
        path = awscli / "examples" / command / f"{name}.rst"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def add_model(service, content, date="2006-03-01"):
        path = botocore / "data" / service / date / "service-2.json.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else gzip.compress(json.dumps(content).encode()))
        return path

    return awscli, botocore, add_example, add_model


EXAMPLE = """**Example 1: To upload an object to a bucket**

The following ``put-object`` command uploads a small file. It needs a bucket. ::

    aws s3api put-object
"""


def test_one_document_with_its_needs(packages):
    awscli, botocore, add_example, add_model = packages
    add_example("s3api", "put-object", EXAMPLE)
    add_model("s3", model())
    documents, needs, left_out = read_packages(awscli, botocore)
    assert [vars(found) for found in documents] == [
        {
            "docno": "s3api/put-object",
            "url": "https://docs.aws.amazon.com/cli/latest/reference/s3api/put-object.html",
            "title": "Amazon Simple Storage Service put-object",
            "body": "Puts one object into a bucket of yours. Bucket: The bucket's name.",
        }
    ]
    assert needs == [
        Need("q00000", "to upload an object to a bucket", "heading", ("s3api/put-object",)),
        Need("q00001", "the following command uploads a small file", "sentence", ("s3api/put-object",)),
    ]
    assert not left_out


@pytest.mark.parametrize(
    ("service", "command"), [("s3", "s3api"), ("codedeploy", "deploy"), ("config", "configservice"), ("ec2", "ec2")]
)
def test_services_that_the_command_line_renames(packages, service, command):
    awscli, botocore, add_example, add_model = packages
    add_example(command, "put-object", EXAMPLE)
    add_model(service, model())
    assert [found.docno for found in read_packages(awscli, botocore)[0]] == [f"{command}/put-object"]


def test_the_newest_model_of_a_service_counts(packages):
    _, botocore, _, add_model = packages
    add_model("s3", model("old"), "2006-03-01")
    add_model("s3", model("new"), "2016-03-01")
    add_model("a", model("another"))
    (botocore / "data" / "paginators-only").mkdir()
    found = [(service, found["metadata"]["serviceFullName"]) for service, found in operation_models(botocore)]
    assert found == [("a", "another"), ("s3", "new")]


def test_an_example_belongs_to_the_operation_of_its_name(packages):
    awscli, botocore, add_example, add_model = packages
    add_model("iam", model(operations={"CreateSAMLProvider": {"documentation": LONG}}))
    add_example("iam", "create-saml-provider", EXAMPLE)
    add_example("iam", "wait", EXAMPLE)
    documents, _, left_out = read_packages(awscli, botocore)
    assert [found.docno for found in documents] == ["iam/create-saml-provider"]
    assert left_out["example files without an operation"] == 1


def test_a_body_has_the_first_12_members_and_8_words(packages):
    members = {f"M{number:02}": {"documentation": f"About {number}. More."} for number in range(14)}
    body = document(model(members=members), "PutObject", "s3api", "put-object").body
    assert body.endswith("M11: About 11.")

    awscli, botocore, add_example, add_model = packages
    add_model("s3", model(operations={"A": {"documentation": "one two three four five six seven"}, "PutObject": {}}))
    add_example("s3api", "a", EXAMPLE)
    add_example("s3api", "put-object", EXAMPLE)
    with pytest.raises(UserError, match="no example file belongs to an operation"):
        read_packages(awscli, botocore)
    add_model("ec2", model(operations={"A": {"documentation": "one two three four five six seven eight"}}))
    add_example("ec2", "a", EXAMPLE)
    documents, _, left_out = read_packages(awscli, botocore)
    assert [found.docno for found in documents] == ["ec2/a"]
    assert left_out["documents of fewer than 8 words"] == 2


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("**To list the users**", [("to list the users", "heading")]),
        ("**Example 12: To list the users**", [("to list the users", "heading")]),
        ("**EXAMPLE - List the users:**", [("list the users", "heading")]),
        ("**List users**\n\nOnly three words.", []),  # two words, three words
        ("**List users**\n\nThese are four words.", [("these are four words", "sentence")]),
        ("**To list the users** of a group", []),  # bold words within a paragraph are no heading
        ("Not below any heading at all.", []),
        (
            "**To use** ``x``\n**To list the users**\n\nA sentence\nof `two lines <https://a.b>`__. Next.",
            [("to list the users", "heading"), ("a sentence of two lines", "sentence")],
        ),
        ("**To list the users**\n\n    aws iam list-users --output table", [("to list the users", "heading")]),
        (
            "**To list the users**\n\nThis list-users command, list-users-x and ``list-users`` too.",
            [("to list the users", "heading"), ("this command, list-users-x and too", "sentence")],
        ),
        (
            "**To list the users**\n**To list the groups**\n\nOnly the *second* heading has these words::",
            [
                ("to list the users", "heading"),
                ("to list the groups", "heading"),
                ("only the second heading has these words", "sentence"),
            ],
        ),
    ],
)
def test_phrases_are_the_bold_headings_and_the_sentence_below_each(source, expected):
    assert phrases(source, "iam/list-users") == [Phrase(text, kind, "iam/list-users") for text, kind in expected]


def test_phrases_with_the_same_content_words_are_one_need():
    needs, dropped = information_needs(
        [
            Phrase("this example describes all key pairs", "sentence", "ec2/a"),
            Phrase("to describe all key pairs", "heading", "ec2/b"),
            Phrase("describe your key pairs for all", "heading", "ec2/c"),
            Phrase("to describe all key groups", "heading", "ec2/a"),
        ]
    )
    assert needs == [
        Need("q00000", "to describe all key groups", "heading", ("ec2/a",)),
        Need("q00001", "to describe all key pairs", "heading", ("ec2/a", "ec2/b", "ec2/c")),
    ]
    assert dropped == {"phrases united with another of the same content words": 2}


def test_needs_of_few_words_or_many_documents_are_dropped_and_counted():
    everywhere = [Phrase("to tag a new resource", "heading", f"service/{number}") for number in range(4)]
    needs, dropped = information_needs([*everywhere, Phrase("to list the users", "heading", "iam/list-users")])
    assert needs == []
    assert dropped == {"phrases with more than 3 relevant documents": 4, "phrases with fewer than 3 content words": 1}
    assert len(information_needs(everywhere[:3])[0]) == 1


def test_the_same_packages_give_the_same_needs_in_any_order_of_phrases():
    found = [
        Phrase(f"to {verb} one {thing} of yours", "heading", f"{thing}/{verb}")
        for verb in ("delete", "create", "start")
        for thing in ("image", "user", "group")
    ]
    assert information_needs(found) == information_needs(found[::-1])


# What is wrong with a package


def packed(content):
    """The same bytes at any time, as the names of the tests tell them."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (packed(json.dumps(model()).encode())[:-20], "truncated or not gzip"),
        (b"no gzip", "truncated or not gzip"),
        (b"", "not a service model"),
        (packed(b"{"), "not a service model"),
        (packed(b"\xff\xfe"), "not a service model"),
        (packed(b"[]"), "not a service model"),
        (packed(b'{"metadata": {"serviceFullName": "S"}}'), "not a service model.*operations"),
        (packed(b'{"metadata": {"serviceFullName": "S"}, "operations": [], "shapes": {}}'), "not a service"),
    ],
)
def test_a_broken_model_is_named(packages, content, message):
    path = packages[3]("s3", content)
    with pytest.raises(UserError, match=message) as caught:
        read_model(path)
    assert str(path) in str(caught.value)
    assert "Reinstall botocore" in str(caught.value)


def test_a_model_with_broken_details_is_named(packages):
    awscli, botocore, add_example, add_model = packages
    add_model("s3", model(operations={"PutObject": []}))
    add_example("s3api", "put-object", EXAMPLE)
    with pytest.raises(UserError, match="data/s3: the model of PutObject is malformed"):
        read_packages(awscli, botocore)


def test_an_example_that_is_not_utf8_is_named(packages):
    awscli, botocore, add_example, add_model = packages
    add_model("s3", model())
    add_example("s3api", "put-object", "")
    (awscli / "examples/s3api/put-object.rst").write_bytes(b"**To \xff**")
    with pytest.raises(UserError, match=r"put-object\.rst: not UTF-8 at byte 5"):
        read_packages(awscli, botocore)


def test_empty_packages_are_refused(packages):
    awscli, botocore, _, add_model = packages
    with pytest.raises(UserError, match=r"no service-2\.json\.gz"):
        read_packages(awscli, botocore)
    add_model("s3", model())
    with pytest.raises(UserError, match="no example file belongs to an operation"):
        read_packages(awscli, botocore)


@pytest.mark.parametrize("name", ["no_such_package_here", "os", "", "a.b", "a-b"])
def test_a_missing_package_is_named(name):
    with pytest.raises(UserError, match="is not installed. Install envs/lock.txt"):
        package_folder(name)


def test_a_package_is_found_without_being_imported():
    assert (package_folder("xmlrpc") / "__init__.py").is_file()
