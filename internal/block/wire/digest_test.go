package wire

import (
	"encoding/hex"
	"testing"
)

// The kernel's test vectors (crypto/testmgr.h has the same from the RFCs): the digest of 32 bytes of zero, and of "abc".
func TestDigests(t *testing.T) {
	for _, c := range []struct{ name, of, want string }{
		{"crc32c", string(make([]byte, 32)), "aa36918a"}, // RFC 3720 B.4, in the order it has on the wire
		{"md5", "abc", "900150983cd24fb0d6963f7d28e17f72"},
		{"sha1", "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"},
		{"sha256", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	} {
		alg, err := Digest(c.name)
		if err != nil {
			t.Fatal(err)
		}
		h := alg()
		h.Write([]byte(c.of))
		if got := hex.EncodeToString(h.Sum(nil)); got != c.want {
			t.Errorf("%s of %q is %s, want %s", c.name, c.of, got, c.want)
		}
		if h.Size() > MaxDigest {
			t.Errorf("%s has %d bytes", c.name, h.Size())
		}
	}
	if _, err := Digest("crc9"); err == nil {
		t.Error("an unknown algorithm was found")
	}
}
