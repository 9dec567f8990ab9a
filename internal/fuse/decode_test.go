package fuse

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// request builds one as the kernel would.
func request(op uint32, unique, node uint64, body ...any) []byte {
	var b bytes.Buffer
	for _, v := range append([]any{uint32(0), op, unique, node, [4]uint32{}}, body...) {
		if err := binary.Write(&b, binary.NativeEndian, v); err != nil {
			panic(err)
		}
	}
	out := b.Bytes()
	binary.NativeEndian.PutUint32(out, uint32(len(out)))
	return out
}

func TestDecode(t *testing.T) {
	payload := bytes.Repeat([]byte{7}, 512)
	cases := map[string]struct {
		in   []byte
		want message
	}{
		"write":          {request(opWrite, 9, 2, uint64(2), uint64(4096), uint32(512), [5]uint32{}, payload), message{op: opWrite, unique: 9, node: 2, offset: 4096, length: 512}},
		"read":           {request(opRead, 10, 2, uint64(2), uint64(1<<40), uint32(1<<20), [5]uint32{}), message{op: opRead, unique: 10, node: 2, offset: 1 << 40, length: 1 << 20}},
		"resent read":    {request(opRead, 1<<63|10, 2, uint64(2), uint64(0), uint32(512), [5]uint32{}), message{op: opRead, unique: 1<<63 | 10, node: 2, length: 512}},
		"fsync":          {request(opFsync, 11, 2, uint64(2), uint32(1), uint32(0)), message{op: opFsync, unique: 11, node: 2, flags: 1}},
		"punch hole":     {request(opFallocate, 12, 2, uint64(2), uint64(512), uint64(1<<32), uint32(3), uint32(0)), message{op: opFallocate, unique: 12, node: 2, offset: 512, length: 1 << 32, flags: 3}},
		"lookup":         {request(opLookup, 13, 1, []byte("disk\x00")), message{op: opLookup, unique: 13, node: 1, name: []byte("disk")}},
		"truncate":       {request(opSetattr, 14, 2, uint32(8), uint32(0), uint64(0), uint64(4096), [16]uint32{}), message{op: opSetattr, unique: 14, node: 2, flags: 8, length: 4096}},
		"init, old":      {request(opInit, 2, 0, uint32(7), uint32(31), uint32(131072), uint32(1)), message{op: opInit, unique: 2, init: initIn{7, 31, 131072, 1}}},
		"init, extended": {request(opInit, 2, 0, uint32(7), uint32(45), uint32(0), uint32(1<<30), uint32(1<<7), [11]uint32{}), message{op: opInit, unique: 2, init: initIn{7, 45, 0, 1<<30 | 1<<39}}},
		"no body needed": {request(opGetattr, 3, 1, [4]uint32{}), message{op: opGetattr, unique: 3, node: 1}},
		"unknown":        {request(4095, 3, 1), message{op: 4095, unique: 3, node: 1}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var m message
			if err := decode(c.in, &m); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, m, cmp.AllowUnexported(message{}, initIn{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	extended := request(opFsync, 11, 2, uint64(2), uint32(1), uint32(0))
	binary.NativeEndian.PutUint16(extended[36:], 1) // says that the last 8 bytes are an extension
	long := request(opGetattr, 1, 1)
	binary.NativeEndian.PutUint32(long, 41)
	cases := map[string][]byte{
		"empty":                  {},
		"short header":           make([]byte, inHeaderSize-1),
		"length lies":            long,
		"write short of payload": request(opWrite, 9, 2, uint64(2), uint64(4096), uint32(512), [5]uint32{}, make([]byte, 511)),
		"write beyond offsets":   request(opWrite, 9, 2, uint64(2), uint64(1<<63), uint32(0), [5]uint32{}),
		"read beyond offsets":    request(opRead, 9, 2, uint64(2), uint64(1<<63-1), uint32(1), [5]uint32{}),
		"name without end":       request(opLookup, 13, 1, []byte("disk")),
		"fsync cut by extension": extended,
		"short init":             request(opInit, 2, 0, uint32(7), uint32(31)),
		"short fallocate":        request(opFallocate, 2, 2, uint64(2), uint64(512)),
	}
	for name, in := range cases {
		t.Run(name, func(t *testing.T) {
			var m message
			if err := decode(in, &m); err == nil {
				t.Errorf("decoded as %+v", m)
			}
		})
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	in := request(opWrite, 9, 2, uint64(2), uint64(4096), uint32(4096), [5]uint32{}, make([]byte, 4096))
	var m message
	if n := testing.AllocsPerRun(100, func() {
		if err := decode(in, &m); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for one request", n)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(request(opWrite, 9, 2, uint64(2), uint64(4096), uint32(8), [5]uint32{}, make([]byte, 8)))
	f.Add(request(opRead, 10, 2, uint64(2), uint64(1<<40), uint32(1<<20), [5]uint32{}))
	f.Add(request(opLookup, 13, 1, []byte("disk\x00")))
	f.Add(request(opInit, 2, 0, uint32(7), uint32(45), uint32(0), uint32(1<<30), uint32(1<<7), [11]uint32{}))
	f.Add(request(opFallocate, 12, 2, uint64(2), uint64(512), uint64(1<<32), uint32(3), uint32(0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m message
		if decode(b, &m) != nil {
			return
		}
		if int64(m.offset) < 0 || m.op != opSetattr && int64(m.length) < 0 || int64(m.offset+m.length) < 0 && m.op != opSetattr {
			t.Fatalf("range overflows: %+v", m)
		}
		if m.op == opWrite && m.length > uint64(len(b)) {
			t.Fatalf("write of %d bytes in a request of %d", m.length, len(b))
		}
		if len(m.name) > len(b) {
			t.Fatalf("name of %d bytes in a request of %d", len(m.name), len(b))
		}
	})
}
