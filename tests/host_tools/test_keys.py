"""Keys: kinds, development keys and products, and signing elsewhere."""

from __future__ import annotations

import base64
import json
import shlex
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from hypothesis import given, settings
from hypothesis import strategies as st
from imgtool import image as imgtool_image
from imgtool.keys import RSA, RSAPublic
from imgtool.version import decode_version

from stm32up.board import boards
from stm32up.device import PROJECT
from stm32up.errors import DeviceError, ImageError, KeyFileError, Stm32upError, UsageError
from stm32up.host.transport import Connection
from stm32up.image import checksums, images, keys
from tests.host_tools.test_cli import one_line

PUBLISHED = PROJECT / "tests" / "data" / "mcuboot_published_keys.json"
# The text in each board file, and its replacement for a product
UNSIGNED, SIGNED_ONLY = "unsigned = true", "unsigned = false"


@pytest.fixture(scope="session")
def development_key(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "development.pem"
    keys.new(path, bits=2048, development=True)
    return path


@pytest.fixture
def product(tmp_path):
    """A board folder like the default one, for a product."""
    folder = tmp_path / "product"
    shutil.copytree(boards.BOARDS / "pico_nucleo_g071rb", folder)
    text = (folder / "board.toml").read_text()
    assert UNSIGNED in text
    (folder / "board.toml").write_text(text.replace(UNSIGNED, SIGNED_ONLY))
    return folder


@pytest.fixture
def unsigned(tmp_path, chip, payload):
    """An image built without a key."""
    (tmp_path / "plain.bin").write_bytes(payload)
    path = tmp_path / "plain.img"
    images.build(tmp_path / "plain.bin", chip, "1.4.2", None, path, product="nucleo-demo")
    return path


def public_half(path, folder):
    keys.write_public(path, folder / "key.pub.pem")
    return folder / "key.pub.pem"


# Files


def test_a_key_for_a_folder_that_is_not_there_names_the_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = run("keys", "new", "keys/a.pem")
    assert ran.status == 2 and "Make the folder first: mkdir keys." in ran.err


def test_the_public_half_is_public_and_is_all_that_checking_needs(run, tmp_path, image, key_files):
    public = tmp_path / "key.pub.pem"
    made = run("--json", "keys", "public", key_files[0], "-o", public).result
    assert b"PRIVATE" not in public.read_bytes()
    assert not isinstance(keys.load(public), RSA)
    assert keys.device_key(keys.load(public)) == keys.device_key(keys.load(key_files[0]))
    assert made["key_id"] + ".pub" == keys.device_key(keys.load(public)).name
    assert run("image", "verify", image, "--key", public).status == 0
    assert run("--json", "image", "show", image).result["key_hash"].startswith(made["key_id"])


def test_writing_the_public_half_overwrites_nothing(run, key_files):
    before = key_files[1].read_bytes()
    assert "exists" in one_line(run("keys", "public", key_files[0], "-o", key_files[1]), 2)
    assert key_files[1].read_bytes() == before


def test_the_public_half_of_an_encrypted_key_needs_its_passphrase(run, tmp_path, monkeypatch):
    keys.new(tmp_path / "key.pem", 2048, "secret")
    command = ["keys", "public", tmp_path / "key.pem", "-o", tmp_path / "key.pub.pem"]
    monkeypatch.setenv("STM32UP_PASSPHRASE", "")  # as that of a secret that a CI does not have
    assert "needs a passphrase" in one_line(run(*command), 2)
    monkeypatch.setenv("STM32UP_PASSPHRASE", "wrong")
    one_line(run(*command), 1)
    monkeypatch.setenv("STM32UP_PASSPHRASE", "secret")
    assert run(*command).status == 0


@pytest.mark.parametrize("secret", [None, "secret"])
def test_a_development_key_stays_one_in_its_public_half(tmp_path, secret):
    path = tmp_path / "key.pem"
    keys.new(path, 2048, secret, development=True)
    keys.write_public(path, tmp_path / "key.pub.pem", secret)
    for file in (path, tmp_path / "key.pub.pem"):
        assert keys.why_development(file, keys.load(file, secret))


def test_other_readers_skip_the_mark_of_a_development_key(development_key):
    pem = development_key.read_bytes()
    assert not pem.startswith(b"-----")
    assert serialization.load_pem_private_key(pem, None)
    if openssl := shutil.which("openssl"):
        subprocess.run([openssl, "pkey", "-in", development_key, "-noout"], check=True)


def test_a_key_is_not_for_development_unless_it_says_so(key_files, tmp_path):
    key = keys.load(key_files[0])
    assert keys.why_development(key_files[0], key) == ""
    behind = tmp_path / "behind.pem"
    behind.write_bytes(key_files[0].read_bytes() + keys.DEVELOPMENT.encode())
    assert keys.why_development(behind, keys.load(behind)) == ""


@pytest.mark.parametrize("bits", [2048, 3072])
def test_a_key_that_mcuboot_publishes_is_for_development(run, fake, product, tmp_path, bits):
    """The keys themselves: tests/data/README.md."""
    modulus = int(json.loads(PUBLISHED.read_text())[f"root-rsa-{bits}.pem"], 16)
    key = rsa.RSAPublicNumbers(keys.EXPONENT, modulus).public_key()
    path = tmp_path / "key.pub.pem"
    path.write_bytes(RSAPublic(key).get_public_pem())
    assert f"root-rsa-{bits}.pem" in keys.why_development(path, keys.load(path))
    line = one_line(run("--port", fake.port, "--board", product, "deploy", "--key", path), 2)
    assert "development key" in line and fake.files() == set()


# Deploying


def test_a_product_refuses_a_development_key_before_a_board_is_looked_for(
    run, fake, product, development_key
):
    line = one_line(
        run("--port", fake.port, "--board", product, "deploy", "--key", development_key), 2
    )
    assert "development key" in line and str(development_key) in line
    assert fake.files() == set()
    assert run("--port", fake.port, "deploy", "--key", development_key).status == 0


def test_one_development_key_among_others_is_refused(
    run, fake, product, key_files, development_key
):
    trusted = ("--key", key_files[0], "--key", development_key)
    one_line(run("--port", fake.port, "--board", product, "deploy", *trusted), 2)
    assert fake.files() == set()


def test_a_product_without_any_key_is_refused_and_untouched(run, fake, product):
    line = one_line(run("--port", fake.port, "--board", product, "deploy"), 2)
    assert "no product key" in line and "--key" in line
    assert fake.files() == set()


def test_a_product_keeps_the_keys_it_has(run, fake, product, key_files, tmp_path):
    deploy = ("--port", fake.port, "--board", product, "--json", "deploy")
    public = public_half(key_files[0], tmp_path)
    assert run(*deploy, "--key", public).status == 0
    assert run(*deploy).result["copied"] == []


@pytest.mark.slow
def test_keys_of_a_board_for_development_do_not_make_it_a_product(
    run, fake, product, development_key, key_files
):
    assert run("--port", fake.port, "deploy", "--key", development_key).status == 0
    before = fake.files()
    deploy = ("--port", fake.port, "--board", product, "deploy")
    assert "no product key" in one_line(run(*deploy), 2)
    assert fake.files() == before
    assert run(*deploy, "--key", key_files[0]).status == 0
    present = {name for name in fake.files() if name.startswith("/updater/keys/")}
    assert present == {key_file(key_files[0])}


class Cut:
    """The board's files change `left` times; the change after that is not made."""

    def __init__(self, monkeypatch):
        self.left = 0
        for name in ("replace_file", "remove"):
            monkeypatch.setattr(Connection, name, self._counted(getattr(Connection, name)))

    def _counted(self, real):
        def change(*arguments):
            if not self.left:
                raise DeviceError("the plug was pulled", "")
            self.left -= 1
            return real(*arguments)

        return change


def key_file(path):
    return f"/updater/keys/{keys.device_key(keys.load(path)).name}"


@pytest.mark.slow
@pytest.mark.parametrize("becomes_product", [True, False])
def test_a_deploy_cut_anywhere_leaves_no_product_with_development_keys(
    run, fake, product, development_key, key_files, monkeypatch, becomes_product
):
    """Nor one without keys. From a board for development to a product, and back again."""
    cut, development, own = Cut(monkeypatch), key_file(development_key), key_file(key_files[0])
    both = [
        ("--port", fake.port, "deploy", "--key", development_key),
        ("--port", fake.port, "--board", product, "deploy", "--key", key_files[0]),
    ]
    before, after = both if becomes_product else reversed(both)
    changes, status = 0, 1
    while status:
        cut.left = 1000
        assert run(*before).status == 0
        cut.left = changes
        status = run(*after).status
        if json.loads(fake.file("/board.json").read_bytes())["unsigned"] is False:
            assert development not in fake.files() and own in fake.files(), changes
        changes += 1
    assert changes == 4  # board.json, the key, the other key; then it was not cut


@pytest.mark.slow
def test_a_rotation_cut_anywhere_leaves_a_key(run, fake, product, key_files, monkeypatch):
    cut, deploy = Cut(monkeypatch), ("--port", fake.port, "--board", product, "deploy", "--key")
    for changes, present in enumerate([{0}, {0, 1}, {1}]):
        cut.left = 1000
        assert run(*deploy, key_files[0]).status == 0
        cut.left = changes
        assert (run(*deploy, key_files[1]).status == 0) is (changes == 2)
        found = {name for name in fake.files() if name.startswith("/updater/keys/")}
        assert found == {key_file(key_files[number]) for number in present}


@pytest.mark.slow
def test_rotation_both_keys_then_only_the_new_one(run, fake, product, key_files):
    deploy = ("--port", fake.port, "--board", product, "--json", "deploy")
    both = ("--key", key_files[0], "--key", key_files[1])
    assert run(*deploy, *both).status == 0
    names = [key_file(path) for path in key_files]
    assert set(names) <= fake.files()
    assert run(*deploy, "--key", key_files[1]).result["removed"] == [names[0]]


# Signing


def test_signing_later_gives_what_signing_at_once_gives(tmp_path, unsigned, image, key_files):
    signed = tmp_path / "signed.img"
    images.sign(unsigned, keys.load(key_files[0]), signed)
    size = 256  # of the signature, which is salted: the only bytes that may differ
    assert signed.read_bytes()[:-size] == image.read_bytes()[:-size]
    assert images.verify(signed, keys.load(key_files[0]))["signature"] == "valid"


def by_cryptography(private, digest, salt=32):
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt)
    return key.sign(digest.read_bytes(), scheme, utils.Prehashed(hashes.SHA256()))


def by_openssl(private, digest):
    options = ["digest:sha256", "rsa_padding_mode:pss", "rsa_pss_saltlen:32"]
    command = ["openssl", "pkeyutl", "-sign", "-inkey", private, "-in", digest]
    command += [part for option in options for part in ("-pkeyopt", option)]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.mark.parametrize("signer", [by_cryptography, by_openssl])
@pytest.mark.parametrize("bits", [2048, 3072])
@pytest.mark.parametrize("encode", [bytes, base64.b64encode, base64.encodebytes])
def test_an_image_is_signed_where_the_key_is(run, tmp_path, unsigned, signer, bits, encode):
    if signer is by_openssl and not shutil.which("openssl"):
        pytest.skip("no openssl here")
    private = tmp_path / "token.pem"
    keys.new(private, bits)
    public = public_half(private, tmp_path)
    digest, signature, signed = (tmp_path / name for name in ("digest", "signature", "signed.img"))
    assert run("image", "digest", unsigned, "-o", digest).status == 0
    assert len(digest.read_bytes()) == 32
    signature.write_bytes(encode(signer(private, digest)))
    sign = ("image", "sign", unsigned, "--key", public, "--signature", signature, "-o", signed)
    ran = run("--json", *sign)
    assert ran.status == 0 and ran.result["signature"] == "valid"
    assert run("image", "verify", signed, "--key", public).status == 0
    assert imgtool_image.Image.verify(str(signed), keys.load(public))[0] == (
        imgtool_image.VerifyResult.OK
    )


def test_the_digest_is_the_one_that_imgtool_exports(tmp_path, unsigned, payload, chip):
    """As `imgtool sign --vector-to-sign digest` does."""
    (tmp_path / "payload.bin").write_bytes(payload)
    image = imgtool_image.Image(
        version=decode_version("1.4.2"),
        header_size=images.HEADER_SIZE,
        pad_header=True,
        rom_fixed=chip.flash_start,
        security_counter="auto",
        cid=images.class_id("nucleo-demo").hex,
    )
    image.load(str(tmp_path / "payload.bin"))
    ours = {
        0xA0: chip.product_id.to_bytes(2, "little"),
        0xA2: checksums.stated(payload, chip.page_size),
    }
    image.create(None, "hash", None, custom_tlvs=ours, vector_to_sign="digest")
    images.write_digest(unsigned, tmp_path / "digest")
    assert (tmp_path / "digest").read_bytes() == image.payload


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 256, b"\xff" * 256, b"x" * 255, b"AAAA", b"\0" * 384]
)
def test_what_is_no_signature_of_this_image_is_refused(
    run, tmp_path, unsigned, key_files, content
):
    public = public_half(key_files[0], tmp_path)
    (tmp_path / "signature").write_bytes(content)
    sign = ("image", "sign", unsigned, "--key", public, "--signature", tmp_path / "signature")
    assert "signature" in one_line(run(*sign, "-o", tmp_path / "signed.img"), 1)
    assert not (tmp_path / "signed.img").exists()


@pytest.mark.parametrize("salt", [0, 20, padding.PSS.MAX_LENGTH])
def test_a_signature_with_another_salt_is_refused_here_and_not_by_the_board(
    run, tmp_path, unsigned, key_files, salt
):
    images.write_digest(unsigned, tmp_path / "digest")
    made = by_cryptography(key_files[0], tmp_path / "digest", salt)
    (tmp_path / "signature").write_bytes(made)
    sign = ("image", "sign", unsigned, "--key", key_files[0], "--signature")
    one_line(run(*sign, tmp_path / "signature", "-o", tmp_path / "signed.img"), 1)


def test_a_signature_of_another_image_is_refused(
    run, tmp_path, chip, payload, unsigned, key_files
):
    (tmp_path / "other.bin").write_bytes(payload + b"another!")
    other = tmp_path / "other.img"
    images.build(tmp_path / "other.bin", chip, "1.0.0", None, other)
    images.write_digest(other, tmp_path / "digest")
    (tmp_path / "signature").write_bytes(by_cryptography(key_files[0], tmp_path / "digest"))
    with pytest.raises(ImageError, match="wrong signature"):
        images.sign(
            unsigned,
            keys.load(key_files[0]),
            tmp_path / "signed.img",
            signature=tmp_path / "signature",
        )


def test_a_public_key_alone_does_not_sign(tmp_path, unsigned, key_files):
    public = keys.load(public_half(key_files[0], tmp_path))
    with pytest.raises(KeyFileError, match="cannot sign"):
        images.sign(unsigned, public, tmp_path / "signed.img")


def test_signing_again_replaces_the_signature(tmp_path, image, key_files):
    images.sign(image, keys.load(key_files[1]), image)
    assert images.verify(image, keys.load(key_files[1]))["signature"] == "valid"
    with pytest.raises(ImageError, match="another key"):
        images.verify(image, keys.load(key_files[0]))


def test_a_damaged_image_is_not_signed(tmp_path, image, key_files):
    content = bytearray(image.read_bytes())
    content[600] ^= 1
    image.write_bytes(content)
    with pytest.raises(ImageError, match="digest"):
        images.sign(image, keys.load(key_files[0]), tmp_path / "signed.img")
    with pytest.raises(ImageError, match="digest"):
        images.write_digest(image, tmp_path / "digest")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_signing_with_a_token_goes_as_the_documentation_says(run, tmp_path, monkeypatch):
    text = (PROJECT / "docs" / "security.md").read_text()
    block = next(block for block in text.split("```")[1::2] if "openssl" in block)
    shutil.copy(PROJECT / "boards/nucleo_g071rb_app/app-1.0.0.hex", tmp_path / "app.hex")
    keys.new(tmp_path / "product.pem")
    keys.write_public(tmp_path / "product.pem", tmp_path / "product.pub.pem")
    monkeypatch.chdir(tmp_path)
    for line in block.replace("\\\n", "").splitlines()[1:]:
        words = shlex.split(line)
        if words[0] == "stm32up":
            assert run(*words[1:]).status == 0, line
        else:
            subprocess.run(words, check=True)
    assert run("image", "verify", "app.img", "--key", "product.pub.pem").status == 0


# Hostile files


@pytest.fixture(scope="session")
def pem_files(key_files, development_key, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pem")
    keys.new(folder / "encrypted.pem", 2048, "secret")
    return [path.read_bytes() for path in (development_key, folder / "encrypted.pem")] + [
        public_half(key_files[0], folder).read_bytes()
    ]


@settings(max_examples=150)
@given(st.data())
def test_any_key_file_is_a_key_or_a_clear_error(pem_files, tmp_path_factory, data):
    content = bytearray(data.draw(st.sampled_from(pem_files)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=40))
    path = tmp_path_factory.getbasetemp() / "key.pem"
    path.write_bytes(content)
    try:
        key = keys.load(path, data.draw(st.sampled_from([None, "secret", "guess"])))
        keys.why_development(path, key)
        assert len(keys.device_key(key).content) in (256, 384)
    except Stm32upError as error:
        assert "\n" not in str(error)


def test_a_folder_is_no_key(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        keys.load(tmp_path)


@pytest.mark.posix
def test_the_result_of_each_key_verb_is_json(run, tmp_path):
    made = run("--json", "keys", "new", tmp_path / "k.pem", "--bits", "2048", "--development")
    assert json.loads(made.out)["status"] == "made"
    assert keys.DEVELOPMENT in (tmp_path / "k.pem").read_text()
    assert (tmp_path / "k.pem").stat().st_mode & 0o777 == 0o600
