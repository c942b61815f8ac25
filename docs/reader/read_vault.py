#!/usr/bin/env python3
"""Opens a vault by docs/format.md alone and lists its commits.

Nothing here is the engine's: it shows that the format's description suffices. It reads, and trusts
no more of what it reads than the ciphers vouch for; it checks no signature.

    pip install cryptography argon2-cffi blake3 zstandard
    read_vault.py FOLDER PASSPHRASE
"""

import hashlib
import hmac
import pathlib
import struct
import sys

import zstandard
from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.cmac import CMAC

BLOCK, SLOT = 4096, 8192


class Fault(Exception):
    """What does not read as the format says."""


def need(holds, what):
    if not holds:
        raise Fault(what)


# Derivation and seals


def derive(key, context, about=b""):
    salt = b"medsync v1 hkdf"
    info = struct.pack("<Q", len(context)) + context.encode() + about
    prk = hmac.new(salt, key, hashlib.sha256).digest()
    return hmac.new(prk, info + b"\x01", hashlib.sha256).digest()


def hchacha20(key, nonce):
    words = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))

    def quarter(a, b, c, d):
        for x, y, z, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            words[x] = (words[x] + words[y]) & 0xFFFFFFFF
            turned = words[z] ^ words[x]
            words[z] = (turned << bits | turned >> (32 - bits)) & 0xFFFFFFFF

    for _ in range(10):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for d in range(4):
            quarter(d, 4 + (d + 1) % 4, 8 + (d + 2) % 4, 12 + (d + 3) % 4)
    return struct.pack("<8I", *words[:4], *words[12:])


def open_xchacha(key, nonce, aad, sealed):
    subkey = hchacha20(key, nonce[:16])
    return ChaCha20Poly1305(subkey).decrypt(b"\0" * 4 + nonce[16:], sealed, aad)


def open_xaes(key, nonce, aad, sealed):
    """C2SP XAES-256-GCM."""

    def half(counter):
        mac = CMAC(algorithms.AES(key))
        mac.update(b"\0" + bytes([counter]) + b"X\0" + nonce[:12])
        return mac.finalize()

    return AESGCM(half(1) + half(2)).decrypt(nonce[12:], sealed, aad)


# CBOR, as much of it as the key file has


def cbor(data, at=0):
    """A value and where it ends."""
    first = data[at]
    major, short = first >> 5, first & 31
    at += 1
    if short >= 24:
        need(short <= 27, "CBOR: a length")
        size = 1 << (short - 24)
        short = int.from_bytes(data[at : at + size], "big")
        at += size
    if major == 0:
        return short, at
    if major in (2, 3):
        chunk = data[at : at + short]
        need(len(chunk) == short, "CBOR: cut off")
        return (chunk if major == 2 else chunk.decode()), at + short
    if first == 0xF6:
        return None, at
    need(major == 4, "CBOR: a type")
    items = []
    for _ in range(short):
        item, at = cbor(data, at)
        items.append(item)
    return items, at


def to_cbor(value):
    def head(major, n):
        if n < 24:
            return bytes([major << 5 | n])
        size = next(s for s in (1, 2, 4, 8) if n < 1 << (8 * s))
        return bytes([major << 5 | 24 + size.bit_length() - 1]) + n.to_bytes(size, "big")

    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(4, len(value)) + b"".join(map(to_cbor, value))


# The key file


def unlock(data, passphrase):
    """Suite, data file's id and page key."""
    need(len(data) <= 8192, "the key file is too long")
    items, end = cbor(data)
    need(end == len(data) and len(items) == 7, "the key file's shape")
    need(items[:2] == ["medsync keys", 1], "not a key file of format 1")
    vault, suite, slots, (file, nonce, sealed), check = items[2:]
    root = None
    for kind, parameters, slot_nonce, slot_sealed in slots:
        if kind != 1:
            continue
        (memory, passes, lanes), salt = cbor(parameters)[0]
        need(19456 <= memory <= 1048576 and 2 <= passes <= 32 and 1 <= lanes <= 16, "Argon2id")
        key = hash_secret_raw(passphrase.encode(), salt, passes, memory, lanes, 32, Type.ID, 0x13)
        aad = to_cbor(["medsync v1 slot", vault, suite, kind, parameters])
        root = open_xchacha(key, slot_nonce, aad, slot_sealed)
    need(root is not None, "no slot for a passphrase")
    before = data[: len(data) - len(to_cbor(check))]
    expected = blake3(before, key=derive(root, "medsync v1 key file check")).digest()
    need(hmac.compare_digest(check, expected), "the key file was changed")
    aad = b"medsync v1 page key" + vault + file + bytes([suite])
    page_key = open_xchacha(derive(root, "medsync v1 page key wrap"), nonce, aad, sealed)
    return suite, file, page_key


# The data file: encrypted pages with redb's file in them


class Pages:
    def __init__(self, data, suite, file, key):
        preamble = b"MEDSYNC\0" + struct.pack("<IB3x", 1, suite) + file
        need(data[:BLOCK] == preamble.ljust(BLOCK, b"\0"), "the preamble")
        self.data, self.suite, self.file, self.key = data, suite, file, key
        self.kept = {0: self.header()}

    def open(self, block, sequence, nonce, sealed):
        aad = self.file + struct.pack("<QQB", block, sequence, self.suite)
        cipher = {1: open_xaes, 2: open_xchacha}[self.suite]
        return cipher(self.key, nonce, aad, sealed)

    def header(self):
        newest = None
        for at in (BLOCK, BLOCK + SLOT):
            slot = self.data[at : at + SLOT]
            sequence = struct.unpack("<Q", slot[:8])[0]
            nonce, tag, sealed = slot[8:32], slot[32:48], slot[48 : 48 + BLOCK]
            try:
                opened = self.open(0, sequence, nonce, sealed + tag)
            except Exception:  # An empty or torn slot: the other one has to do.
                continue
            if sequence and (newest is None or sequence > newest[0]):
                newest = (sequence, opened)
        need(newest, "neither header opens")
        return newest[1]

    def block(self, n):
        if n not in self.kept:
            at = BLOCK + 2 * SLOT + (n - 1) * (BLOCK + 40)
            raw = self.data[at : at + BLOCK + 40]
            sealed, nonce, tag = raw[:BLOCK], raw[BLOCK : BLOCK + 24], raw[BLOCK + 24 :]
            self.kept[n] = self.open(n, 0, nonce, sealed + tag)
        return self.kept[n]

    def read(self, at, length):
        blocks = range(at // BLOCK, (at + length + BLOCK - 1) // BLOCK)
        joined = b"".join(self.block(n) for n in blocks)
        return joined[at % BLOCK :][:length]


class Redb:
    """redb's file format 3, as its design document and its source have it."""

    def __init__(self, pages):
        self.pages = pages
        head = pages.read(0, 320)
        need(head[:9] == b"redb\x1a\x0a\xa9\x0d\x0a", "no redb file inside")
        flags = head[9]
        size, header_pages, data_pages = struct.unpack("<III", head[12:24])
        need(size == BLOCK, "redb: the page size")
        self.header = header_pages * size
        self.region = (header_pages + data_pages) * size
        slot = head[64 + 128 * (flags & 1) :][:128]
        need(slot[0] == 3, "redb: the file format")
        self.root = struct.unpack("<Q", slot[8:16])[0] if slot[1] else None

    def page(self, number):
        order = number >> 59
        index, region = number & (0xFFFFF >> order), number >> 20 & 0xFFFFF
        length = BLOCK << order
        at = BLOCK + region * self.region + self.header + index * length
        return self.pages.read(at, length)

    def walk(self, number):
        """Keys and values of a tree, in order."""
        page = self.page(number)
        count = struct.unpack("<H", page[2:4])[0]
        if page[0] == 2:
            at = 8 + 16 * (count + 1)
            for child in struct.unpack_from(f"<{count + 1}Q", page, at):
                yield from self.walk(child)
            return
        need(page[0] == 1, "redb: a page's type")
        keys = struct.unpack_from(f"<{count}I", page, 4)
        values = struct.unpack_from(f"<{count}I", page, 4 + 4 * count)
        key_at, value_at = 4 + 8 * count, keys[-1]
        for key_end, value_end in zip(keys, values):
            yield page[key_at:key_end], page[value_at:value_end]
            key_at, value_at = key_end, value_end

    def table(self, name):
        for key, value in self.walk(self.root):
            if key == name:
                need(value[9], "redb: the table is empty")
                return self.walk(struct.unpack("<Q", value[10:18])[0])
        raise Fault(f"redb: no table {name}")


# The rows: postcard


class Postcard:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self):
        value, shift = 0, 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def take(self, length):
        chunk = self.data[self.at : self.at + length]
        need(len(chunk) == length, "a row is cut off")
        self.at += length
        return chunk

    def bytes(self):
        return self.take(self.number())


def commit(row):
    """A commit's header and leaves: for each its kind, entry and change."""
    if row[0] == 2:
        length = struct.unpack("<I", row[1:5])[0]
        row = zstandard.ZstdDecompressor().decompress(row[5:], max_output_size=length)
    else:
        need(row[0] == 1, "a commit of a newer format")
        row = row[1:]
    read = Postcard(row)
    header, leaves = read.bytes(), []
    for _ in range(read.number()):
        kind = read.number()
        if kind == 0:
            leaves.append(("withheld", read.take(32), None))
        elif kind == 1:
            leaves.append(("item", read.bytes(), None))
        elif kind == 2:
            read.take(16 + 32 + 24)
            leaves.append(("sealed", read.bytes(), None))
        else:
            need(kind == 3, "a leaf of a newer format")
            read.take(16)
            leaves.append(("change", read.bytes(), read.bytes()))
    need(read.at == len(row), "something follows a commit")
    return header, leaves


def change_id(change):
    """Automerge's: SHA-256 of all that follows the checksum, which is its beginning."""
    digest = hashlib.sha256(change[8:]).digest()
    need(change[4:8] == digest[:4], "a change's checksum")
    return digest


def list_commits(rows):
    for key, row in rows.items():
        if key[:1] != b"C":
            continue
        chain, seq = struct.unpack(">IQ", key[1:13])
        header, leaves = commit(row)
        fields, _ = cbor(header)
        need(fields[0] == 1 and fields[3] == seq, "a commit is not at its place")
        need(fields[8] == len(leaves), "a commit's count")
        name = blake3(header, derive_key_context="medsync v1 commit").hexdigest()
        print(f"commit {chain} {seq} {name} {fields[1].hex()}")
        for kind, entry, change in leaves:
            said = [kind]
            if kind == "change":
                said += [record_of(entry, change), change_id(change).hex()]
            print("  " + " ".join(said))


def record_of(entry, change):
    """The record of a change's entry, which must name the bytes that stand beside it."""
    fields, end = cbor(entry)
    need(end == len(entry) and fields[0] == 0 and len(fields) == 7, "an entry's shape")
    need(fields[4] == change_id(change), "an entry names another change")
    return fields[1]


def contents(folder, name):
    """A file, or what it was packed from."""
    if (folder / name).exists():
        return (folder / name).read_bytes()
    with open(folder / f"{name}.zst", "rb") as packed:
        return zstandard.ZstdDecompressor().stream_reader(packed).read()


def main(folder, passphrase):
    folder = pathlib.Path(folder)
    suite, file, key = unlock(contents(folder, "vault.keys"), passphrase)
    redb = Redb(Pages(contents(folder, "vault.db"), suite, file, key))
    rows = dict(redb.table(b"m"))
    list_commits(rows)
    views = [key[1:].decode() for key in rows if key[:1] == b"v"]
    print(f"records {' '.join(sorted(views))}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
