package wire

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
)

// MaxDigest is the longest digest of any algorithm, in bytes.
const MaxDigest = sha512.Size

// Digest finds a digest by the name the kernel's crypto API has for it, as verify-alg, csums-alg and data-integrity-alg give
// it: crc32c, md5, sha1, sha224, sha256, sha384, sha512.
func Digest(name string) (func() hash.Hash, error) {
	switch name {
	case "crc32c":
		return newCRC32C, nil
	case "md5":
		return md5.New, nil
	case "sha1":
		return sha1.New, nil
	case "sha224":
		return sha256.New224, nil
	case "sha256":
		return sha256.New, nil
	case "sha384":
		return sha512.New384, nil
	case "sha512":
		return sha512.New, nil
	}
	return nil, fmt.Errorf("digest algorithm %q is not known: use crc32c, md5, sha1, sha256 or sha512", name)
}

// crc32c is the Castagnoli checksum with the kernel's byte order: little-endian.
type crc32c struct{ hash.Hash32 }

func newCRC32C() hash.Hash { return crc32c{crc32.New(crc32.MakeTable(crc32.Castagnoli))} }

// Sum appends the checksum.
func (c crc32c) Sum(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, c.Sum32()) }

// CarriesDigest tells whether a packet's data is preceded by its digest when one was agreed on.
func (c Command) CarriesDigest() bool { return c == Data || c == DataReply || c == RSDataReply }
