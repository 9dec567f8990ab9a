// Package wire encodes and decodes the packets of DRBD's network protocol as DRBD 8.4 speaks it (versions 86 to 101): what
// two nodes say on the data connection (writes, resync, states) and on the meta connection (acknowledgements, pings).
// Encoding appends to the caller's buffer and allocates nothing if that has room. Source of the layouts: the DRBD User's
// Guide, and packet captures of the 8.4.11 kernel module.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The range of protocol versions of DRBD 8.4.
const (
	ProtocolMin = 86
	ProtocolMax = 101
)

// Form is the layout of a packet header.
type Form uint8

// The header forms, named by the protocol version they came with. Before the features are agreed, every packet has the
// first.
const (
	Form80  Form = iota + 1 // magic 32, command 16, length 16
	Form95                  // magic 16, command 16, length 32
	Form100                 // magic 32, volume 16, command 16, length 32, 4 bytes of nothing
)

const (
	magic80  = 0x83740267
	magic95  = 0x835a
	magic100 = 0x8620ec20
	// maxForm80 is the largest payload sent under the oldest header once the next form is available, in bytes.
	maxForm80 = 0x8000
)

// MaxHeader is the size of the longest header, in bytes.
const MaxHeader = 16

// MaxData is the largest piece of application data in a packet, in bytes: one write or one answer to a read.
const MaxData = 1 << 20

// MaxPayload bounds what may follow a header, in bytes: data, its fixed fields and a digest.
const MaxPayload = MaxData + 4096

// FormFor is the header form of a packet with this payload length, after agreeing on a protocol version.
func FormFor(protocol, length int) Form {
	switch {
	case protocol >= 100:
		return Form100
	case protocol >= 95 && length > maxForm80:
		return Form95
	}
	return Form80
}

// Size is the length of the header in bytes.
func (f Form) Size() int {
	if f == Form100 {
		return MaxHeader
	}
	return 8
}

// Header says what follows it.
type Header struct {
	Command Command
	Volume  uint16 // only Form100 carries it
	Length  uint32 // of the payload, in bytes
}

// AppendHeader appends the header in this form. It panics if the length does not fit: FormFor prevents that.
func AppendHeader(dst []byte, f Form, h Header) []byte {
	be := binary.BigEndian
	switch f {
	case Form80:
		if h.Length > 0xffff {
			panic(fmt.Sprintf("wire: %d bytes of payload under a header of form 80", h.Length))
		}
		dst = be.AppendUint32(dst, magic80)
		dst = be.AppendUint16(dst, uint16(h.Command))
		return be.AppendUint16(dst, uint16(h.Length))
	case Form95:
		dst = be.AppendUint16(dst, magic95)
		dst = be.AppendUint16(dst, uint16(h.Command))
		return be.AppendUint32(dst, h.Length)
	}
	dst = be.AppendUint32(dst, magic100)
	dst = be.AppendUint16(dst, h.Volume)
	dst = be.AppendUint16(dst, uint16(h.Command))
	dst = be.AppendUint32(dst, h.Length)
	return be.AppendUint32(dst, 0)
}

// ErrMore is returned by DecodeHeader if p ends before the header does.
var ErrMore = errors.New("wire: header incomplete")

// DecodeHeader reads the header p begins with, in whatever form, and gives its size. 8 bytes tell the form; if they call
// for more than p has, the error is ErrMore and size is what is needed. Any other error means that the connection
// carries something else: drop it.
func DecodeHeader(p []byte) (h Header, size int, err error) {
	const least = 8
	if len(p) < least {
		return h, least, ErrMore
	}
	be := binary.BigEndian
	switch {
	case be.Uint32(p) == magic80:
		h, size = Header{Command: Command(be.Uint16(p[4:])), Length: uint32(be.Uint16(p[6:]))}, least
	case be.Uint32(p) == magic100:
		if len(p) < MaxHeader {
			return h, MaxHeader, ErrMore
		}
		h = Header{Volume: be.Uint16(p[4:]), Command: Command(be.Uint16(p[6:])), Length: be.Uint32(p[8:])}
		size = MaxHeader
	case be.Uint16(p) == magic95:
		h, size = Header{Command: Command(be.Uint16(p[2:])), Length: be.Uint32(p[4:])}, least
	default:
		return h, 0, fmt.Errorf("wire: not a DRBD packet: it begins with % x", p[:least])
	}
	if h.Length > MaxPayload {
		return h, 0, fmt.Errorf("wire: %v with a payload of %d bytes, at most %d", h.Command, h.Length, MaxPayload)
	}
	return h, size, nil
}
