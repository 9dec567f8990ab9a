package transport

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// A frame is a 32-bit big-endian length and that many bytes. A frame of length 0 is a keep-alive and is answered by one.

// appendFrame makes the frame of a body.
func appendFrame(body []byte) []byte {
	out := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	return append(out, body...)
}

// readFrame reads one frame of at most limit bytes. Memory grows with what arrives, not with what the length promises.
func readFrame(r io.Reader, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if int64(n) > int64(limit) {
		return nil, fmt.Errorf("a frame of %d bytes is over the limit of %d", n, limit)
	}
	if n == 0 {
		return nil, nil
	}
	var buf bytes.Buffer
	if _, err := io.CopyN(&buf, r, int64(n)); err != nil {
		return nil, fmt.Errorf("a frame ends early: %w", err)
	}
	return buf.Bytes(), nil
}

func writeJSON(w io.Writer, v any, limit int) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if len(body) > limit {
		return fmt.Errorf("a message of %d bytes is over the limit of %d", len(body), limit)
	}
	_, err = w.Write(appendFrame(body))
	return err
}

func readJSON(r io.Reader, v any, limit int) error {
	body, err := readFrame(r, limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}
