package transport

import (
	"bytes"
	"testing"
)

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{}, 10)
	f.Add(appendFrame([]byte("hello")), 10)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1}, 1<<30)
	f.Fuzz(func(t *testing.T, data []byte, limit int) {
		body, err := readFrame(bytes.NewReader(data), limit)
		if err != nil {
			return
		}
		if len(body) > limit && len(body) > 0 {
			t.Fatalf("%d bytes over the limit of %d", len(body), limit)
		}
		if got := appendFrame(body); !bytes.HasPrefix(data, got) {
			t.Fatalf("frame %x read from %x", got, data)
		}
	})
}
