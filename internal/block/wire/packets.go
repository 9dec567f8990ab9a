package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"holdfast/internal/block/generation"
)

// Payload is the fixed part of a packet after its header.
type Payload interface {
	// Len is the encoded length in bytes.
	Len() int
	// AppendTo appends the encoding.
	AppendTo(dst []byte) []byte
}

// Append appends a packet: header and payload. extra is the length in bytes of what the caller sends right after it
// (application data, words of a bitmap); it counts in the header's length.
func Append[P Payload](dst []byte, f Form, volume uint16, cmd Command, p P, extra int) []byte {
	dst = AppendHeader(dst, f, Header{Command: cmd, Volume: volume, Length: uint32(p.Len() + extra)})
	return p.AppendTo(dst)
}

// AppendEmpty appends a packet without payload (Ping, PingAck, UnplugRemote, InitialData, InitialMeta).
func AppendEmpty(dst []byte, f Form, volume uint16, cmd Command) []byte {
	return AppendHeader(dst, f, Header{Command: cmd, Volume: volume})
}

// short says that a payload ends early.
func short(what string, have, want int) error {
	return fmt.Errorf("wire: %s of %d bytes, want %d", what, have, want)
}

// Feature flags: what both offer is used.
const (
	FeatureTrim        = 1
	FeatureThinResync  = 2
	FeatureWriteSame   = 4
	FeatureWriteZeroes = 8
	// FeatureHoldfast is offered by holdfast alone; the kernel module ignores it. Between two that offer it every packet
	// with data carries a CRC32C unless data-integrity-alg names something else, and P_BARRIER may end an epoch without a
	// write.
	FeatureHoldfast = 1 << 30
)

// Features is P_CONNECTION_FEATURES, the first packet either way after InitialData: which versions the sender speaks.
type Features struct {
	Min, Max uint32
	Flags    uint32
}

// FeaturesLen is the size of Features in bytes.
const FeaturesLen = 72

// Len is FeaturesLen.
func (Features) Len() int { return FeaturesLen }

// AppendTo appends the encoding.
func (f Features) AppendTo(dst []byte) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(dst, f.Min)
	dst = be.AppendUint32(dst, f.Flags)
	dst = be.AppendUint32(dst, f.Max)
	return append(dst, make([]byte, FeaturesLen-12)...)
}

// Decode reads the payload.
func (f *Features) Decode(p []byte) error {
	if len(p) < FeaturesLen {
		return short("P_CONNECTION_FEATURES", len(p), FeaturesLen)
	}
	be := binary.BigEndian
	*f = Features{Min: be.Uint32(p), Flags: be.Uint32(p[4:]), Max: be.Uint32(p[8:])}
	if f.Max == 0 { // a peer that speaks one version only
		f.Max = f.Min
	}
	return nil
}

// Agree gives the version and flags two nodes use, or why they cannot talk.
func (f Features) Agree(peer Features) (protocol int, flags uint32, err error) {
	if f.Max < peer.Min || f.Min > peer.Max {
		return 0, 0, fmt.Errorf("incompatible DRBD dialects: I support %d-%d, peer supports %d-%d",
			f.Min, f.Max, peer.Min, peer.Max)
	}
	return int(min(f.Max, peer.Max)), f.Flags & peer.Flags, nil
}

// Replication protocols, as in P_PROTOCOL.
const (
	ProtocolA = 1
	ProtocolB = 2
	ProtocolC = 3
)

// Connection flags of ProtocolInfo.
const (
	ConnDiscardMyData = 1
	ConnDryRun        = 2
)

// ProtocolInfo is P_PROTOCOL: settings that must be equal on both sides.
type ProtocolInfo struct {
	Protocol     uint32 // ProtocolA, B or C
	AfterSB0Pri  uint32
	AfterSB1Pri  uint32
	AfterSB2Pri  uint32
	ConnFlags    uint32
	TwoPrimaries uint32
	IntegrityAlg string // empty for none; from version 87 on
}

const protocolFixed = 24

// maxAlgorithm bounds the name of a digest algorithm in a packet, with its final NUL.
const maxAlgorithm = 64

// Len is the encoded length.
func (i ProtocolInfo) Len() int { return protocolFixed + len(i.IntegrityAlg) + 1 }

// AppendTo appends the encoding.
func (i ProtocolInfo) AppendTo(dst []byte) []byte {
	for _, v := range [...]uint32{i.Protocol, i.AfterSB0Pri, i.AfterSB1Pri, i.AfterSB2Pri, i.ConnFlags, i.TwoPrimaries} {
		dst = binary.BigEndian.AppendUint32(dst, v)
	}
	dst = append(dst, i.IntegrityAlg...)
	return append(dst, 0)
}

// Decode reads the payload.
func (i *ProtocolInfo) Decode(p []byte) error {
	if len(p) < protocolFixed {
		return short("P_PROTOCOL", len(p), protocolFixed)
	}
	if len(p) > protocolFixed+maxAlgorithm {
		return fmt.Errorf("wire: P_PROTOCOL with an integrity algorithm of %d bytes", len(p)-protocolFixed)
	}
	var d ProtocolInfo
	for n, f := range [...]*uint32{&d.Protocol, &d.AfterSB0Pri, &d.AfterSB1Pri, &d.AfterSB2Pri, &d.ConnFlags, &d.TwoPrimaries} {
		*f = binary.BigEndian.Uint32(p[4*n:])
	}
	d.IntegrityAlg = cString(p[protocolFixed:])
	if len(d.IntegrityAlg) >= maxAlgorithm {
		return fmt.Errorf("wire: P_PROTOCOL with an integrity algorithm that does not end within %d bytes", maxAlgorithm)
	}
	*i = d
	return nil
}

// cString reads text up to the first NUL.
func cString(p []byte) string {
	if n := bytes.IndexByte(p, 0); n >= 0 {
		p = p[:n]
	}
	return string(p)
}

// SyncParams is P_SYNC_PARAM89: the resync settings. Controller values are DRBD's units: 0.1 s, sectors, KiB/s.
type SyncParams struct {
	Rate                uint32 // KiB/s
	VerifyAlg, CsumsAlg string
	PlanAhead           uint32
	DelayTarget         uint32
	FillTarget          uint32
	MaxRate             uint32
}

const (
	syncParams89 = 4 + 2*maxAlgorithm
	syncParams95 = syncParams89 + 16
)

// Len is the encoded length for versions from 95 on.
func (SyncParams) Len() int { return syncParams95 }

// AppendTo appends the encoding for versions from 95 on. For 89 to 94 send its first SyncParamsLen bytes.
func (s SyncParams) AppendTo(dst []byte) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(dst, s.Rate)
	for _, alg := range [...]string{s.VerifyAlg, s.CsumsAlg} {
		var field [maxAlgorithm]byte
		copy(field[:maxAlgorithm-1], alg)
		dst = append(dst, field[:]...)
	}
	for _, v := range [...]uint32{s.PlanAhead, s.DelayTarget, s.FillTarget, s.MaxRate} {
		dst = be.AppendUint32(dst, v)
	}
	return dst
}

// SyncParamsLen is how many bytes of SyncParams a version sends (from 89 on).
func SyncParamsLen(protocol int) int {
	if protocol >= 95 {
		return syncParams95
	}
	return syncParams89
}

// Decode reads the payload of either length.
func (s *SyncParams) Decode(p []byte) error {
	if len(p) < syncParams89 {
		return short("P_SYNC_PARAM89", len(p), syncParams89)
	}
	be := binary.BigEndian
	d := SyncParams{Rate: be.Uint32(p), VerifyAlg: cString(p[4 : 4+maxAlgorithm]), CsumsAlg: cString(p[4+maxAlgorithm : syncParams89])}
	if len(p) >= syncParams95 {
		for n, f := range [...]*uint32{&d.PlanAhead, &d.DelayTarget, &d.FillTarget, &d.MaxRate} {
			*f = be.Uint32(p[syncParams89+4*n:])
		}
	}
	*s = d
	return nil
}

// SizesInfo is P_SIZES. Sizes in sectors.
type SizesInfo struct {
	Disk       uint64 // of the backing disk, less metadata
	User       uint64 // the option size, 0 for none
	Current    uint64 // of the device as it is now
	MaxBIO     uint32 // bytes
	QueueOrder uint16
	DDSFlags   uint16
	// HasLimits: the queue limits below are sent (both offer FeatureWriteSame).
	HasLimits       bool
	PhysicalBlock   uint32
	LogicalBlock    uint32
	AlignmentOffset uint32
	IOMin, IOOpt    uint32
	Discard         bool
	DiscardZeroes   bool
	WriteSame       bool
}

const (
	sizesFixed  = 32
	sizesLimits = sizesFixed + 24
)

// Len is the encoded length.
func (s SizesInfo) Len() int {
	if s.HasLimits {
		return sizesLimits
	}
	return sizesFixed
}

// AppendTo appends the encoding.
func (s SizesInfo) AppendTo(dst []byte) []byte {
	be := binary.BigEndian
	dst = be.AppendUint64(dst, s.Disk)
	dst = be.AppendUint64(dst, s.User)
	dst = be.AppendUint64(dst, s.Current)
	dst = be.AppendUint32(dst, s.MaxBIO)
	dst = be.AppendUint16(dst, s.QueueOrder)
	dst = be.AppendUint16(dst, s.DDSFlags)
	if !s.HasLimits {
		return dst
	}
	for _, v := range [...]uint32{s.PhysicalBlock, s.LogicalBlock, s.AlignmentOffset, s.IOMin, s.IOOpt} {
		dst = be.AppendUint32(dst, v)
	}
	return append(dst, boolByte(s.Discard), boolByte(s.DiscardZeroes), boolByte(s.WriteSame), 0)
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// Decode reads the payload.
func (s *SizesInfo) Decode(p []byte) error {
	if len(p) < sizesFixed {
		return short("P_SIZES", len(p), sizesFixed)
	}
	be := binary.BigEndian
	d := SizesInfo{Disk: be.Uint64(p), User: be.Uint64(p[8:]), Current: be.Uint64(p[16:]), MaxBIO: be.Uint32(p[24:]),
		QueueOrder: be.Uint16(p[28:]), DDSFlags: be.Uint16(p[30:])}
	if len(p) >= sizesLimits {
		q := p[sizesFixed:]
		d.HasLimits = true
		for n, f := range [...]*uint32{&d.PhysicalBlock, &d.LogicalBlock, &d.AlignmentOffset, &d.IOMin, &d.IOOpt} {
			*f = be.Uint32(q[4*n:])
		}
		d.Discard, d.DiscardZeroes, d.WriteSame = q[20] != 0, q[21] != 0, q[22] != 0
	}
	*s = d
	return nil
}

// Flags of UUIDSet.
const (
	UUIDDiscardMyData  = 1 // the sender gave itself up in a split brain
	UUIDCrashedPrimary = 2
	UUIDInconsistent   = 4 // the sender's disk is Inconsistent
	UUIDSkipInitial    = 8 // both disks are declared equal (new-current-uuid --clear-bitmap)
)

// UUIDSet is P_UUIDS.
type UUIDSet struct {
	Set   generation.Set
	Bits  uint64 // out of sync, as the sender counts
	Flags uint64
}

// UUIDSetLen is the size of UUIDSet in bytes.
const UUIDSetLen = 48

// Len is UUIDSetLen.
func (UUIDSet) Len() int { return UUIDSetLen }

// AppendTo appends the encoding.
func (u UUIDSet) AppendTo(dst []byte) []byte {
	for _, v := range [...]uint64{u.Set.Current, u.Set.Bitmap, u.Set.History[0], u.Set.History[1], u.Bits, u.Flags} {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	return dst
}

// Decode reads the payload.
func (u *UUIDSet) Decode(p []byte) error {
	if len(p) < UUIDSetLen {
		return short("P_UUIDS", len(p), UUIDSetLen)
	}
	at := func(i int) uint64 { return binary.BigEndian.Uint64(p[8*i:]) }
	*u = UUIDSet{Set: generation.Set{Current: at(0), Bitmap: at(1), History: [2]uint64{at(2), at(3)}}, Bits: at(4), Flags: at(5)}
	return nil
}
