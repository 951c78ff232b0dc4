"""python3 landline.py HOST:PORT IDENTITY.pem run COMMAND | get REMOTE LOCAL | put LOCAL REMOTE

A client in plain Python, written from PROTOCOL.md. IDENTITY.pem is that of a LANDLINE_HOME, LANDLINE_PIN the
server's fingerprint (its `tcp-server identity`). Sizes are checked, digests are not: Python has no BLAKE3."""
import base64, hashlib, json, os, socket, ssl, struct, sys

def fingerprint(der, at=0):
    """Of the public key in a certificate (RFC 5280, 4.1). A search could find a key that a false one has in a name."""
    for enter in (True, True, False, False, False, False, False, False, False):
        start, length, at = at, der[at + 1], at + 2
        if length >= 0x80:  # the length of the length; DER knows no unknown one, which would lead astray
            assert length > 0x80, "the certificate is not DER"
            length, at = int.from_bytes(der[at : at + length - 0x80], "big"), at + length - 0x80
        at += 0 if enter else length
    return "SHA256:" + base64.b64encode(hashlib.sha256(der[start:at]).digest()).decode().rstrip("=")

def send(kind, body=b"", **fields):
    header = json.dumps({"type": kind, "total_size": len(body), **fields}).encode()
    connection.sendall(struct.pack("<i", len(header)) + header + body)

def receive():
    length = incoming.read(4) or sys.exit("the server closed the connection")
    header = {"total_size": 0} | json.loads(incoming.read(*struct.unpack("<i", length)))
    return sys.exit(header["message"]) if header["type"] == "error" else (header, incoming.read(header["total_size"]))

if len(sys.argv) < 5 or sys.argv[3] not in ("run", "get", "put") or (sys.argv[3] != "run" and len(sys.argv) != 6):
    sys.exit(print("usage:", __doc__, file=sys.stderr) or 2)
where, identity, verb, *words = sys.argv[1:]
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
tls.minimum_version, tls.check_hostname, tls.verify_mode = ssl.TLSVersion.TLSv1_3, False, ssl.CERT_NONE
tls.set_alpn_protocols(["landline/1"])
tls.load_cert_chain(identity)
connection = tls.wrap_socket(socket.create_connection(where.rsplit(":", 1)))
if (key := fingerprint(connection.getpeercert(binary_form=True))) != os.environ.get("LANDLINE_PIN"):
    sys.exit(f"the server has the key {key}, which is not LANDLINE_PIN; nothing was sent")
incoming, out, code = connection.makefile("rb"), sys.stdout.buffer, 0
send("hello", version=1, program="landline.py")  # the request may follow at once
if verb == "run":
    send("exec", " ".join(words).encode(), form="shell")
    send("eof")
elif verb == "get":
    send("get", path=words[0])
    out = open(words[1] + ".part", "wb")
elif verb == "put":
    send("put", path=words[1], name=os.path.basename(words[0]), size=os.path.getsize(words[0]))
    file = open(words[0], "rb")
    while piece := file.read(1 << 20):
        send("data", piece)
    send("end", size=file.tell())
for header, body in iter(receive, None):
    if header["type"] in ("end", "ok"):
        break
    code = header.get("exit_code", 255) if header["type"] == "outcome" else code  # 255: a signal ended it
    (sys.stderr.buffer if header.get("stream") == "stderr" else out).write(body)
if verb == "get":
    assert out.tell() == header.get("size"), "the server gave up before the end"
    os.replace(out.name, words[1])
send("end")  # closes a command's exchange; behind others it is ignored
connection.unwrap()
sys.exit(code)
