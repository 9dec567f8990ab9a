package wire

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/block/generation"
)

// every is a packet of each kind, filled with distinct values.
func every() map[Command]Payload {
	data := DataInfo{Sector: 0x1122334455667788, BlockID: 0xc098e808000011ff, Seq: 3, Flags: DPFUA | DPSendWriteAck}
	ack := BlockAck{Sector: 40008, BlockID: 0xc098e808000011ff, Bytes: 4096, Seq: 1}
	request := BlockRequest{Sector: 48080, BlockID: IDSyncer, Bytes: 4096}
	return map[Command]Payload{
		ConnectFeatures: Features{Min: 86, Max: 101, Flags: FeatureTrim | FeatureThinResync | FeatureWriteSame | FeatureWriteZeroes},
		Protocol:        ProtocolInfo{Protocol: ProtocolC, AfterSB0Pri: 1, AfterSB1Pri: 2, AfterSB2Pri: 3, ConnFlags: ConnDiscardMyData, TwoPrimaries: 1, IntegrityAlg: "sha1"},
		SyncParam89:     SyncParams{Rate: 250, VerifyAlg: "sha1", CsumsAlg: "md5", PlanAhead: 20, DelayTarget: 10, FillTarget: 100, MaxRate: 102400},
		Sizes: SizesInfo{Disk: 1, User: 2, Current: 3, MaxBIO: 1 << 20, QueueOrder: 4, DDSFlags: 5, HasLimits: true, PhysicalBlock: 512, LogicalBlock: 513,
			AlignmentOffset: 7, IOMin: 514, IOOpt: 8, Discard: true, DiscardZeroes: false, WriteSame: true},
		UUIDs:         UUIDSet{Set: generation.Set{Current: 1, Bitmap: 2, History: [2]uint64{3, 4}}, Bits: 5, Flags: UUIDCrashedPrimary},
		State:         Word32(States{Role: Primary, Peer: Secondary, Conn: SyncSource, Disk: generation.UpToDate, PeerDisk: generation.Inconsistent}.Word()),
		SyncUUID:      Word64(0x1cfc22e655d56aff),
		StateChgReq:   StateChange{Mask: MaskConn, Value: uint32(Disconnecting) << shiftConn},
		Data:          data,
		Zeroes:        RangeInfo{DataInfo: data, Bytes: 1 << 20},
		WriteAck:      ack,
		RSDataRequest: request,
		OutOfSync:     BlockDesc{Sector: 8, Bytes: 4096},
		Barrier:       BarrierInfo{Number: 0x11000000, Writes: 9},
		DelayProbe:    DelayInfo{Seq: 1, Offset: 2},
	}
}

// fresh gives something to decode a command's payload into.
func fresh(c Command) codec {
	switch c {
	case ConnectFeatures:
		return new(Features)
	case Protocol:
		return new(ProtocolInfo)
	case SyncParam89:
		return new(SyncParams)
	case Sizes:
		return new(SizesInfo)
	case UUIDs:
		return new(UUIDSet)
	case State:
		return new(Word32)
	case SyncUUID:
		return new(Word64)
	case StateChgReq:
		return new(StateChange)
	case Data:
		return new(DataInfo)
	case Zeroes:
		return new(RangeInfo)
	case WriteAck:
		return new(BlockAck)
	case RSDataRequest:
		return new(BlockRequest)
	case OutOfSync:
		return new(BlockDesc)
	case Barrier:
		return new(BarrierInfo)
	}
	return new(DelayInfo)
}

// deref is the value a codec points to, for comparison.
func deref(c codec) Payload {
	switch v := c.(type) {
	case *Features:
		return *v
	case *ProtocolInfo:
		return *v
	case *SyncParams:
		return *v
	case *SizesInfo:
		return *v
	case *UUIDSet:
		return *v
	case *Word32:
		return *v
	case *Word64:
		return *v
	case *StateChange:
		return *v
	case *DataInfo:
		return *v
	case *RangeInfo:
		return *v
	case *BlockAck:
		return *v
	case *BlockRequest:
		return *v
	case *BlockDesc:
		return *v
	case *BarrierInfo:
		return *v
	}
	return *c.(*DelayInfo)
}

// TestRoundTrip encodes and decodes a packet of each kind under each header, and refuses it one byte short.
func TestRoundTrip(t *testing.T) {
	for cmd, want := range every() {
		for _, form := range []Form{Form80, Form95, Form100} {
			p := Append(nil, form, 3, cmd, want, 0)
			h, size, err := DecodeHeader(p)
			if err != nil || h.Command != cmd || int(h.Length) != want.Len() || size != form.Size() || len(p) != size+want.Len() {
				t.Fatalf("%v: header %+v, %v", cmd, h, err)
			}
			if form == Form100 && h.Volume != 3 {
				t.Errorf("%v: volume %d", cmd, h.Volume)
			}
			got := fresh(cmd)
			if err := got.Decode(p[size:]); err != nil {
				t.Fatalf("%v: %v", cmd, err)
			}
			if d := cmp.Diff(want, deref(got)); d != "" {
				t.Errorf("%v: %s", cmd, d)
			}
		}
		p := want.AppendTo(nil)
		if cmd == Protocol || cmd == SyncParam89 || cmd == Sizes {
			p = p[:min(len(p), sizesFixed)-9] // these have shorter forms of older versions
		}
		if err := fresh(cmd).Decode(p[:len(p)-1]); err == nil {
			t.Errorf("%v: a short payload was accepted", cmd)
		}
	}
}

// TestOlderForms decodes the shorter payloads of older versions.
func TestOlderForms(t *testing.T) {
	full := every()
	var sync SyncParams
	if err := sync.Decode(full[SyncParam89].AppendTo(nil)[:SyncParamsLen(94)]); err != nil || sync.CsumsAlg != "md5" || sync.MaxRate != 0 {
		t.Errorf("version 94: %+v, %v", sync, err)
	}
	if SyncParamsLen(95) != full[SyncParam89].Len() {
		t.Error("length of version 95")
	}
	var sizes SizesInfo
	if err := sizes.Decode(full[Sizes].AppendTo(nil)[:sizesFixed]); err != nil || sizes.HasLimits || sizes.Len() != sizesFixed {
		t.Errorf("without limits: %+v, %v", sizes, err)
	}
	var protocol ProtocolInfo
	if err := protocol.Decode(full[Protocol].AppendTo(nil)[:protocolFixed]); err != nil || protocol.IntegrityAlg != "" {
		t.Errorf("without an algorithm: %+v, %v", protocol, err)
	}
	if err := protocol.Decode(make([]byte, 1000)); err == nil {
		t.Error("an algorithm of 976 bytes was accepted")
	}
}

func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		protocol, length int
		want             Form
	}{{86, 100, Form80}, {94, 100, Form80}, {95, 100, Form80}, {95, 0x8001, Form95}, {99, 1 << 20, Form95}, {100, 0, Form100}, {101, 1 << 20, Form100}} {
		if got := FormFor(c.protocol, c.length); got != c.want {
			t.Errorf("version %d, %d bytes: form %d, want %d", c.protocol, c.length, got, c.want)
		}
	}
	whole := AppendEmpty(nil, Form100, 1, Ping)
	for n := range whole {
		if _, need, err := DecodeHeader(whole[:n]); !errors.Is(err, ErrMore) || need <= n {
			t.Errorf("%d bytes: need %d, %v", n, need, err)
		}
	}
	for _, bad := range [][]byte{[]byte("GET / HT"), AppendHeader(nil, Form100, Header{Command: Data, Length: MaxPayload + 1}), make([]byte, 16)} {
		if _, _, err := DecodeHeader(bad); err == nil || errors.Is(err, ErrMore) {
			t.Errorf("% x: %v", bad, err)
		}
	}
	if _, _, err := DecodeHeader(AppendHeader(nil, Form95, Header{Command: Data, Length: MaxPayload})); err != nil {
		t.Error(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("70000 bytes were put under a header of form 80")
		}
	}()
	AppendHeader(nil, Form80, Header{Length: 70000})
}

func TestAgree(t *testing.T) {
	ours := Features{Min: ProtocolMin, Max: ProtocolMax, Flags: FeatureTrim | FeatureWriteZeroes}
	for _, c := range []struct {
		peer     Features
		protocol int
		flags    uint32
	}{
		{Features{Min: 86, Max: 101, Flags: 15}, 101, FeatureTrim | FeatureWriteZeroes},
		{Features{Min: 86, Max: 96, Flags: FeatureTrim}, 96, FeatureTrim},
		{Features{Min: 101, Max: 121}, 101, 0},
		{Features{Min: 80, Max: 85}, 0, 0},
		{Features{Min: 110, Max: 121}, 0, 0},
	} {
		protocol, flags, err := ours.Agree(c.peer)
		if protocol != c.protocol || flags != c.flags || (err == nil) != (c.protocol != 0) {
			t.Errorf("%+v: %d %x %v", c.peer, protocol, flags, err)
		}
	}
	var old Features
	if err := old.Decode(Features{Min: 86}.AppendTo(nil)); err != nil || old.Max != 86 {
		t.Errorf("a peer with one version: %+v, %v", old, err)
	}
}

// TestStates packs every combination of fields, and reads words that were recorded.
func TestStates(t *testing.T) {
	for bit := range 23 {
		if got := StatesOf(1 << bit).Word(); got != 1<<bit {
			t.Errorf("bit %d became %x", bit, got)
		}
	}
	for word, want := range map[uint32]States{
		0x0000d082: {Role: Secondary, Conn: WFConnection, Disk: generation.UpToDate, PeerDisk: generation.DUnknown},
		0x0000d081: {Role: Primary, Conn: WFConnection, Disk: generation.UpToDate, PeerDisk: generation.DUnknown},
		0x000110a6: {Role: Secondary, Peer: Primary, Conn: Connected, Disk: generation.UpToDate, PeerDisk: generation.UpToDate},
		0x0000f0d9: {Role: Primary, Peer: Secondary, Conn: WFBitMapS, Disk: generation.UpToDate, PeerDisk: generation.Consistent},
	} {
		if d := cmp.Diff(want, StatesOf(word)); d != "" {
			t.Errorf("%08x: %s", word, d)
		}
		if want.Word() != word {
			t.Errorf("%+v is %08x, want %08x", want, want.Word(), word)
		}
	}
	if MaskRole|MaskPeer|MaskConn|MaskDisk|MaskPeerDisk != 1<<shiftFlags-1 {
		t.Error("the masks leave a gap")
	}
}

func TestNames(t *testing.T) {
	for cmd := range every() {
		if !cmd.Known() {
			t.Errorf("%v is not known", cmd)
		}
		if cmd.Belongs(true) == cmd.Belongs(false) && cmd != DelayProbe && cmd != ConnectFeatures {
			t.Errorf("%v: on which connection?", cmd)
		}
	}
	if Command(0x99).Belongs(false) || InitialMeta.Belongs(true) || Data.Belongs(true) || WriteAck.Belongs(false) {
		t.Error("connections of commands")
	}
	if Command(0x99).Known() || Command(0x99).String() != "P_0x99" || InitialMeta.String() != "P_INITIAL_META" || Data.String() != "P_DATA" {
		t.Error("names of commands")
	}
	if Behind.String() != "Behind" || Conn(31).String() != "Unknown" || RoleUnknown.String() != "Unknown" || Primary.String() != "Primary" {
		t.Error("names of states")
	}
	seen := map[string]StateReturn{}
	for r := OutdateWithoutConn; r <= TwoPrimaries; r++ {
		if other, twice := seen[r.String()]; twice && r.String() != "Unknown error" {
			t.Errorf("%d and %d are both %q", r, other, r)
		}
		seen[r.String()] = r
	}
	if TwoPrimaries.String() != "Multiple primaries not allowed by config" || DeviceInUse.String() != "Device is held open by someone" || StateReturn(-99).String() != "Unknown error" {
		t.Error("sentences of refusals")
	}
}

// TestNoAllocation: the packets of a running replication are encoded and decoded without garbage.
func TestNoAllocation(t *testing.T) {
	buf := make([]byte, 0, 256)
	data := DataInfo{Sector: 1, BlockID: 2, Seq: 3}
	ack := BlockAck{Sector: 1}
	if n := testing.AllocsPerRun(1000, func() {
		buf = Append(buf[:0], Form100, 0, Data, data, 4096)
		buf = Append(buf, Form100, 0, WriteAck, ack, 0)
		buf = AppendEmpty(buf, Form100, 0, Ping)
	}); n != 0 {
		t.Errorf("encoding allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() {
		if _, size, err := DecodeHeader(buf); err != nil || data.Decode(buf[size:]) != nil {
			t.Fatal("decode")
		}
	}); n != 0 {
		t.Errorf("decoding allocates %v times", n)
	}
}

// FuzzPackets: no input panics, and what is decoded is encoded to the same bytes, or decodes to the same again.
func FuzzPackets(f *testing.F) {
	for cmd, p := range every() {
		f.Add(Append(nil, Form100, 1, cmd, p, 0))
		f.Add(Append(nil, Form80, 1, cmd, p, 0))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		h, size, err := DecodeHeader(p)
		if err != nil || len(p) < size {
			return
		}
		first, err := reencode(h, p[size:])
		if err != nil || first == nil {
			return
		}
		second, err := reencode(h, first)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%v: % x became % x, %v", h.Command, first, second, err)
		}
	})
}
