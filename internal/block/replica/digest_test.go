package replica

import (
	"bytes"
	"strings"
	"testing"

	"holdfast/internal/block/wire"
)

// steppedPair is two ends of a link whose packets the test carries.
func steppedPair(t testing.TB, integrity string) (x, y Stepped) {
	t.Helper()
	a, b := Config{Node: "a", Peer: "b", Integrity: integrity}, Config{Node: "b", Peer: "a", Integrity: integrity}
	x, err := NewStepped(a, b, true)
	must(t, err)
	y, err = NewStepped(b, a, false)
	must(t, err)
	return x, y
}

// TestDigestsOfData: what data-integrity-alg names, and CRC32C where it names nothing, is sent before the data, and a
// change on the way is found.
func TestDigestsOfData(t *testing.T) {
	for alg, length := range map[string]int{"": 4, "crc32c": 4, "md5": 16, "sha1": 20, "sha256": 32} {
		t.Run(alg, func(t *testing.T) {
			x, y := steppedPair(t, alg)
			var got []byte
			pool := &Pool{}
			x.Start(pool, func(Packet) {}, func(string, bool) {})
			y.Start(pool, func(p Packet) {
				got = append([]byte(nil), p.Data.B...)
				p.Data.Release()
				y.Done(len(got))
			}, func(string, bool) {})
			data := bytes.Repeat([]byte("0123456789abcdef"), 32)
			Send(x.Link, 0, wire.Data, wire.DataInfo{Sector: 8, BlockID: 1}, data, nil)
			packets := x.Take(false)
			if want := wire.MaxHeader + wire.DataInfoLen + length + len(data); len(packets) != want {
				t.Errorf("%d bytes, want %d", len(packets), want)
			}
			must(t, y.Receive(false, packets))
			if !bytes.Equal(got, data) {
				t.Error("the data changed")
			}
			packets[len(packets)-1] ^= 1
			if err := y.Receive(false, packets); err == nil || !strings.Contains(err.Error(), "Digest integrity check FAILED") {
				t.Errorf("a flipped bit: %v", err)
			}
		})
	}
}

// FuzzReceive feeds a link whatever a peer may send.
func FuzzReceive(f *testing.F) {
	x, _ := steppedPair(f, "")
	x.Start(&Pool{}, func(Packet) {}, func(string, bool) {})
	Send(x.Link, 0, wire.Data, wire.DataInfo{Sector: 8, BlockID: 1}, make([]byte, 512), nil)
	Send(x.Link, 0, wire.UUIDs, wire.UUIDSet{}, nil, nil)
	Send(x.Link, 0, wire.OVRequest, wire.BlockRequest{Sector: 8, Bytes: 4096}, nil, nil)
	f.Add(false, x.Take(false))
	SendMeta(x.Link, 0, wire.OVResult, wire.BlockAck{Sector: 8, BlockID: wire.IDOutOfSync, Bytes: 4096})
	f.Add(true, x.Take(true))
	f.Fuzz(func(t *testing.T, meta bool, packets []byte) {
		_, y := steppedPair(t, "")
		held := 0
		y.Start(&Pool{}, func(p Packet) {
			if isData := p.Command <= wire.RSDataReply; isData != (p.Data != nil) || isData && meta {
				t.Errorf("%v, on the meta connection: %v, with data: %v", p.Command, meta, p.Data != nil)
			}
			if p.Data != nil {
				held += len(p.Data.B)
				n := len(p.Data.B)
				p.Data.Release()
				y.Done(n)
			}
		}, func(string, bool) {})
		y.Receive(meta, packets)
		if held > len(packets) {
			t.Errorf("%d bytes of data out of %d", held, len(packets))
		}
	})
}
