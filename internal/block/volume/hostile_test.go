package volume

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/wire"
)

// TestHostilePeer lets a peer send spoiled conversations after a proper beginning: the process must neither end nor stop
// answering. (Not a fuzz target: the coverage of a running engine is not the input's alone, which the fuzzer cannot use.)
//
// A conversation is packets one after the other, each a byte of command (the highest bit: on the meta connection), two
// bytes of length (at most 8191) and as much payload as there is.
func TestHostilePeer(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("VOLUME_SEED"); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		must(t, err)
		seed = v
	}
	t.Logf("VOLUME_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	p := newPair(t, "")
	p.a.start()
	p.a.view(api.VolumeView{})
	p.a.ok(api.VolumeDo{Verb: api.VolumeUp})
	good := conversations()
	for _, s := range good {
		feed(t, p, s)
	}
	for range 200 {
		feed(t, p, spoil(rng, good))
		p.a.ok(api.VolumeDo{Verb: api.VolumeConnect}) // it still answers
	}
}

// spoil changes bits and bytes of a conversation, or joins parts of two.
func spoil(rng *rand.Rand, good [][]byte) []byte {
	s := slices.Clone(good[rng.IntN(len(good))])
	for range 1 + rng.IntN(5) {
		switch rng.IntN(3) {
		case 0:
			s[rng.IntN(len(s))] = byte(rng.Uint32())
		case 1:
			s[rng.IntN(len(s))] ^= 1 << rng.IntN(8)
		case 2:
			o := good[rng.IntN(len(good))]
			s = append(s[:1+rng.IntN(len(s))], o[rng.IntN(len(o)):]...)
		}
	}
	return s
}

// conversations are ones that make sense.
func conversations() (seeds [][]byte) {
	packet := func(meta bool, cmd wire.Command, body []byte) []byte {
		head := []byte{byte(cmd), byte(len(body) >> 8), byte(len(body))}
		if meta {
			head[0] |= 0x80
		}
		return append(head, body...)
	}
	cat := func(parts ...[]byte) (out []byte) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	begin := cat(packet(false, wire.Protocol, wire.ProtocolInfo{Protocol: 3}.AppendTo(nil)),
		packet(false, wire.Sizes, wire.SizesInfo{Disk: 65456, Current: 65456}.AppendTo(nil)))
	uuids := func(current, bitmap uint64) []byte {
		u := wire.UUIDSet{Bits: 5}
		u.Set.Current, u.Set.Bitmap = current, bitmap
		return packet(false, wire.UUIDs, u.AppendTo(nil))
	}
	state := func(s wire.States) []byte { return packet(false, wire.State, wire.Word32(s.Word()).AppendTo(nil)) }
	up := wire.States{Role: wire.Primary, Conn: wire.WFConnection, Disk: 8, PeerDisk: 6}
	var sender wire.BitmapSender
	bits := metadata.NewBitmap(65456 * 512)
	bits.Set(3, 9)
	bitmap := packet(false, wire.CompressedBM, sender.Append(nil, wire.Form100, 0, bits)[wire.MaxHeader:])
	data := packet(false, wire.Data, append(wire.DataInfo{Sector: 8, BlockID: 1, Seq: 1, Flags: wire.DPSendWriteAck}.AppendTo(nil), make([]byte, 512)...))
	seeds = append(seeds, cat(begin, uuids(0x1234567890, 4), state(up), bitmap, packet(false, wire.SyncUUID, wire.Word64(77).AppendTo(nil)), data,
		packet(false, wire.Barrier, wire.BarrierInfo{Number: 1}.AppendTo(nil))))
	seeds = append(seeds, cat(begin, uuids(4, 0), state(wire.States{Role: wire.Secondary, Conn: wire.WFConnection, Disk: 4}), data,
		packet(true, wire.WriteAck, wire.BlockAck{BlockID: blockIDBase}.AppendTo(nil)),
		packet(true, wire.RSWriteAck, wire.BlockAck{BlockID: wire.IDSyncer, Bytes: 4096}.AppendTo(nil)),
		packet(false, wire.RSDataRequest, wire.BlockRequest{BlockID: wire.IDSyncer, Bytes: 4096}.AppendTo(nil)),
		packet(false, wire.StateChgReq, wire.StateChange{Mask: 3, Value: 1}.AppendTo(nil)),
		packet(false, wire.ConnStChgReq, wire.StateChange{Mask: wire.MaskConn, Value: 16}.AppendTo(nil))))
	seeds = append(seeds, cat(data, bitmap, packet(false, wire.Trim, wire.RangeInfo{Bytes: 4096}.AppendTo(nil)), packet(true, wire.PingAck, nil)))
	for _, cmd := range []wire.Command{wire.Data, wire.DataReply, wire.RSDataReply} { // on the connection where they do not belong
		seeds = append(seeds, cat(begin, packet(true, cmd, append(wire.DataInfo{Sector: 8}.AppendTo(nil), make([]byte, 512)...))))
	}
	return seeds
}

// feed plays the peer b for one connection.
func feed(t *testing.T, p *pair, input []byte) {
	self, peer, err := p.a.res.For("a")
	must(t, err)
	local, err := net.ResolveTCPAddr("tcp", peer.Address.Endpoint())
	must(t, err)
	local.Port = 0
	dial := func(cmd wire.Command) net.Conn {
		for deadline := time.Now().Add(patience); ; {
			d := net.Dialer{LocalAddr: local}
			c, err := d.Dial("tcp", self.Address.Endpoint())
			if err == nil {
				_, err = c.Write(wire.AppendEmpty(nil, wire.Form80, 0, cmd))
			}
			if err == nil {
				go io.Copy(io.Discard, c)
				return c
			}
			if time.Now().After(deadline) {
				t.Fatalf("%v; status %+v", err, p.a.last())
			}
			time.Sleep(time.Millisecond)
			p.a.ok(api.VolumeDo{Verb: api.VolumeConnect}) // the last conversation may have ended in a refusal meanwhile
		}
	}
	data, meta := dial(wire.InitialData), dial(wire.InitialMeta)
	defer data.Close()
	defer meta.Close()
	data.Write(wire.Append(nil, wire.Form80, 0, wire.ConnectFeatures, wire.Features{Min: 86, Max: 101, Flags: 15}, 0))
	for len(input) >= 3 {
		cmd, n := input[0], min(int(binary.BigEndian.Uint16(input[1:])&8191), len(input)-3)
		packet := wire.AppendHeader(nil, wire.Form100, wire.Header{Command: wire.Command(cmd & 0x7f), Length: uint32(n)})
		packet = append(packet, input[3:3+n]...)
		input = input[3+n:]
		c := data
		if cmd&0x80 != 0 {
			c = meta
		}
		if _, err := c.Write(packet); err != nil {
			return
		}
	}
}
