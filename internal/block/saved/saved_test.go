package saved

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/block/generation"
	"holdfast/internal/block/metadata"
)

func header() Header {
	return Header{ID: "0102", Resource: "r0", Node: "b", Peer: "a", DeviceUUID: 0xb0b0002, Size: 8 << 20,
		UUIDs: generation.Set{Current: 0x10, Bitmap: 0x20, History: [2]uint64{0x30, 0x40}}, Flags: metadata.Consistent | metadata.WasUpToDate, At: 7}
}

// sample is a file with data, zeroes and, if twice, more of them after its first end.
func sample(t testing.TB, twice bool) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, header())
	steps := []func() error{
		func() error { return w.Add(4096, bytes.Repeat([]byte{7}, 4096)) },
		func() error { return w.Add(1<<20, make([]byte, 8192)) },
		func() error { return w.End() },
	}
	if twice {
		steps = append(steps, func() error { return w.Add(0, bytes.Repeat([]byte{1, 2}, MaxData/2+256)) }, func() error { return w.End() })
	}
	for _, step := range steps {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read gives a file's header and blocks.
func read(file []byte) (Header, []Block, error) {
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		return Header{}, nil, err
	}
	var list []Block
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Header(), list, nil
		}
		if err != nil {
			return r.Header(), list, err
		}
		b.Content = bytes.Clone(b.Content)
		list = append(list, b)
	}
}

func TestRoundTrip(t *testing.T) {
	h, list, err := read(sample(t, true))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(header(), h); d != "" {
		t.Error(d)
	}
	want := []Block{
		{Offset: 4096, Length: 4096, Content: bytes.Repeat([]byte{7}, 4096)},
		{Offset: 1 << 20, Length: 8192},
		{Offset: 0, Length: MaxData, Content: bytes.Repeat([]byte{1, 2}, MaxData/2)},
		{Offset: MaxData, Length: 512, Content: bytes.Repeat([]byte{1, 2}, 256)},
	}
	if len(list) != len(want) {
		t.Fatalf("%d blocks", len(list))
	}
	for i, b := range list {
		if b.Offset != want[i].Offset || b.Length != want[i].Length || !bytes.Equal(b.Content, want[i].Content) {
			t.Errorf("block %d: %d bytes at %d", i, b.Length, b.Offset)
		}
	}
}

// TestCutAndFlipped: a file that ends anywhere but after an end record, or with any bit changed, is not taken for whole.
func TestCutAndFlipped(t *testing.T) {
	file := sample(t, false)
	for n := range file {
		if _, _, err := read(file[:n]); !errors.Is(err, ErrIncomplete) && !errors.Is(err, ErrNotOurs) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(file), err)
		}
	}
	for i := range file {
		file[i] ^= 1 << (i % 8)
		if _, _, err := read(file); err == nil {
			t.Fatalf("bit %d of byte %d flipped and not noticed", i%8, i)
		}
		file[i] ^= 1 << (i % 8)
	}
}

// TestRecordMissing: a record that was taken out whole is missed by the end's count.
func TestRecordMissing(t *testing.T) {
	with, without := sample(t, false), &bytes.Buffer{}
	w, err := NewWriter(without, header())
	if err == nil {
		err = w.Add(1<<20, make([]byte, 8192))
	}
	if err != nil {
		t.Fatal(err)
	}
	end := with[len(with)-frame-16-sumBytes:]
	if _, _, err := read(append(without.Bytes(), end...)); !errors.Is(err, ErrDamaged) {
		t.Errorf("error %v", err)
	}
}

func TestHeaderIsChecked(t *testing.T) {
	for _, h := range []Header{{}, {ID: "1", Resource: "r", Node: "n", Size: 100}, {Resource: "r", Node: "n", Size: 512}} {
		if _, err := NewWriter(io.Discard, h); err == nil {
			t.Errorf("%+v was accepted", h)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(sample(f, false))
	short := sample(f, false)
	f.Add(append(short, short[len(short)-frame-16-sumBytes:]...)) // ends twice
	f.Add([]byte(Magic))
	f.Fuzz(func(t *testing.T, file []byte) {
		h, list, err := read(file)
		if err != nil {
			return
		}
		var again bytes.Buffer
		w, err := NewWriter(&again, h)
		if err != nil {
			t.Fatalf("header %+v was read and cannot be written: %v", h, err)
		}
		for _, b := range list {
			content := b.Content
			if content == nil {
				content = make([]byte, b.Length)
			}
			if err := w.Add(b.Offset, content); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.End(); err != nil {
			t.Fatal(err)
		}
		h2, list2, err := read(again.Bytes())
		if err != nil || cmp.Diff(h, h2) != "" || len(list) != len(list2) {
			t.Fatalf("not the same again: %v\n%s", err, cmp.Diff(h, h2))
		}
		for i := range list {
			if list[i].Offset != list2[i].Offset || list[i].Length != list2[i].Length {
				t.Fatalf("block %d: %v and %v", i, list[i], list2[i])
			}
		}
	})
}
