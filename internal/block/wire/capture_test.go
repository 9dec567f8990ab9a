package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// packet is one DRBD packet of a capture.
type packet struct {
	flow    string
	form    Form
	header  Header
	raw     []byte
	payload []byte
}

// shared finds the recordings, or skips the test.
func shared(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for dir != "/" {
		p := filepath.Join(dir, "shared/reference/drbd84", name)
		if _, err := os.Stat(p); err == nil {
			return p
		}
		dir = filepath.Dir(dir)
	}
	t.Skipf("recording %s is not here", name)
	return ""
}

// stream is one direction of a TCP connection.
type stream struct {
	buf  []byte
	next uint32
	sync bool
}

// readCapture gives the packets of a pcap file (Ethernet, IPv4, TCP) in the order in which they were complete.
func readCapture(t testing.TB, path string) []packet {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const fileHead, frameHead, ethernet = 24, 16, 14
	streams := map[string]*stream{}
	var all []packet
	for o := fileHead; o+frameHead <= len(b); {
		n := int(binary.LittleEndian.Uint32(b[o+8:]))
		frame := b[o+frameHead : o+frameHead+n]
		o += frameHead + n
		if len(frame) < 54 || binary.BigEndian.Uint16(frame[12:]) != 0x800 || frame[ethernet+9] != 6 {
			continue
		}
		ip := frame[ethernet:]
		tcp := ip[int(ip[0]&15)*4 : binary.BigEndian.Uint16(ip[2:])]
		flow := fmt.Sprintf("%d.%d>%d.%d", ip[15], binary.BigEndian.Uint16(tcp), ip[19], binary.BigEndian.Uint16(tcp[2:]))
		s := streams[flow]
		if s == nil || tcp[13]&2 != 0 {
			s = &stream{}
			streams[flow] = s
		}
		s.add(tcp)
		all = append(all, s.take(t, flow)...)
	}
	return all
}

func (s *stream) add(tcp []byte) {
	seq, data := binary.BigEndian.Uint32(tcp[4:]), tcp[int(tcp[12]>>4)*4:]
	if tcp[13]&2 != 0 {
		s.next, s.sync = seq+1, true
		return
	}
	if len(data) == 0 {
		return
	}
	if !s.sync {
		s.next, s.sync = seq, true
	}
	switch old := int32(s.next - seq); {
	case old < 0:
		s.buf, s.next = nil, seq
	case int(old) >= len(data):
		return
	default:
		data = data[old:]
	}
	s.buf = append(s.buf, data...)
	s.next += uint32(len(data))
}

func (s *stream) take(t testing.TB, flow string) (all []packet) {
	for {
		h, size, err := DecodeHeader(s.buf)
		if errors.Is(err, ErrMore) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", flow, err)
		}
		if len(s.buf) < size+int(h.Length) {
			return all
		}
		raw := bytes.Clone(s.buf[:size+int(h.Length)])
		s.buf = s.buf[len(raw):]
		form := Form80
		switch {
		case size == MaxHeader:
			form = Form100
		case binary.BigEndian.Uint16(raw) == magic95:
			form = Form95
		}
		all = append(all, packet{flow, form, h, raw, raw[size:]})
	}
}

// reencode decodes a payload and encodes it again.
func reencode(h Header, p []byte) ([]byte, error) {
	switch h.Command {
	case ConnectFeatures:
		return again(new(Features), p)
	case Protocol, ProtocolUpdate:
		return again(new(ProtocolInfo), p)
	case SyncParam89:
		return again(new(SyncParams), p)
	case Sizes:
		return again(new(SizesInfo), p)
	case UUIDs:
		return again(new(UUIDSet), p)
	case State, StateChgReply, ConnStChgReply:
		return again(new(Word32), p)
	case SyncUUID:
		return again(new(Word64), p)
	case StateChgReq, ConnStChgReq:
		return again(new(StateChange), p)
	case Data, DataReply, RSDataReply:
		return again(new(DataInfo), p)
	case Trim, Zeroes, WriteSame:
		return again(new(RangeInfo), p)
	case DataRequest, RSDataRequest, RSThinReq, OVRequest, OVReply, CsumRSRequest:
		return again(new(BlockRequest), p)
	case RecvAck, WriteAck, RSWriteAck, NegAck, NegDReply, NegRSDReply, RSIsInSync, OVResult, Superseded, RetryWrite, RSCancel:
		return again(new(BlockAck), p)
	case OutOfSync, RSDeallocated:
		return again(new(BlockDesc), p)
	case Barrier, BarrierAck:
		return again(new(BarrierInfo), p)
	case DelayProbe:
		return again(new(DelayInfo), p)
	}
	return nil, nil
}

type codec interface {
	Payload
	Decode(p []byte) error
}

func again(c codec, p []byte) ([]byte, error) {
	if err := c.Decode(p); err != nil {
		return nil, err
	}
	return c.AppendTo(nil), nil
}

// TestRecorded decodes every packet that two kernels exchanged and encodes it back to the same bytes.
func TestRecorded(t *testing.T) {
	for _, name := range []string{"drbd84.pcap", "drbd84-crash-splitbrain.pcap", "drbd84-userspace-listener.pcap"} {
		t.Run(name, func(t *testing.T) {
			all := readCapture(t, shared(t, name))
			if len(all) < 10 {
				t.Fatalf("only %d packets", len(all))
			}
			for i, p := range all {
				if !p.header.Command.Known() {
					t.Errorf("packet %d: unknown command %v", i, p.header.Command)
				}
				if got := AppendHeader(nil, p.form, p.header); !bytes.Equal(got, p.raw[:len(got)]) {
					t.Errorf("packet %d %v: header % x, recorded % x", i, p.header.Command, got, p.raw[:len(got)])
				}
				got, err := reencode(p.header, p.payload)
				if err != nil {
					t.Errorf("packet %d %v: %v", i, p.header.Command, err)
				}
				if len(got) > len(p.payload) || !bytes.Equal(got, p.payload[:len(got)]) {
					t.Errorf("packet %d %v:\n got %x\nwant %x", i, p.header.Command, got, p.payload)
				}
			}
		})
	}
}
