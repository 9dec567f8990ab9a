package wire

import "encoding/binary"

// Values of a packet's block ID that are no identifier of the sender's.
const (
	IDSyncer    = ^uint64(0) // a request of the resync
	IDInSync    = 4711       // P_OV_RESULT: equal
	IDOutOfSync = 4712       // P_OV_RESULT: different
)

// Data flags: what a write demands, and how it is to be acknowledged.
const (
	DPHardBarrier    = 1
	DPSync           = 2
	DPMaySetInSync   = 4
	DPUnplug         = 8
	DPFUA            = 16
	DPFlush          = 32
	DPDiscard        = 64
	DPSendReceiveAck = 128
	DPSendWriteAck   = 256
	DPWriteSame      = 512
	DPZeroes         = 1024
)

// DataInfo precedes the data in P_DATA, P_DATA_REPLY and P_RS_DATA_REPLY. With a data integrity algorithm its digest is
// between the two.
type DataInfo struct {
	Sector  uint64
	BlockID uint64 // opaque: comes back in the acknowledgement
	Seq     uint32 // orders acknowledgements of concurrent writes
	Flags   uint32 // DP...
}

// DataInfoLen is the size of DataInfo in bytes.
const DataInfoLen = 24

// Len is DataInfoLen.
func (DataInfo) Len() int { return DataInfoLen }

// AppendTo appends the encoding.
func (d DataInfo) AppendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, d.Sector)
	dst = binary.BigEndian.AppendUint64(dst, d.BlockID)
	dst = binary.BigEndian.AppendUint32(dst, d.Seq)
	return binary.BigEndian.AppendUint32(dst, d.Flags)
}

// Decode reads the payload's fixed part; the data follows at DataInfoLen.
func (d *DataInfo) Decode(p []byte) error {
	if len(p) < DataInfoLen {
		return short("P_DATA", len(p), DataInfoLen)
	}
	be := binary.BigEndian
	*d = DataInfo{Sector: be.Uint64(p), BlockID: be.Uint64(p[8:]), Seq: be.Uint32(p[16:]), Flags: be.Uint32(p[20:])}
	return nil
}

// RangeInfo is P_TRIM and P_ZEROES, a write without data, and what precedes the one block of P_WSAME.
type RangeInfo struct {
	DataInfo
	Bytes uint32 // length of the range
}

// RangeInfoLen is the size of RangeInfo in bytes.
const RangeInfoLen = DataInfoLen + 4

// Len is RangeInfoLen.
func (RangeInfo) Len() int { return RangeInfoLen }

// AppendTo appends the encoding.
func (r RangeInfo) AppendTo(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(r.DataInfo.AppendTo(dst), r.Bytes)
}

// Decode reads the payload's fixed part.
func (r *RangeInfo) Decode(p []byte) error {
	if len(p) < RangeInfoLen {
		return short("P_TRIM", len(p), RangeInfoLen)
	}
	r.Bytes = binary.BigEndian.Uint32(p[DataInfoLen:])
	return r.DataInfo.Decode(p)
}

// BlockAck is every acknowledgement of a block: P_RECV_ACK, P_WRITE_ACK, P_RS_WRITE_ACK, P_NEG_ACK, P_NEG_DREPLY,
// P_NEG_RS_DREPLY, P_RS_IS_IN_SYNC, P_OV_RESULT, P_SUPERSEDED, P_RETRY_WRITE, P_RS_CANCEL.
type BlockAck struct {
	Sector  uint64
	BlockID uint64
	Bytes   uint32
	Seq     uint32
}

// BlockAckLen is the size of BlockAck, and of BlockRequest, in bytes.
const BlockAckLen = 24

// Len is BlockAckLen.
func (BlockAck) Len() int { return BlockAckLen }

// AppendTo appends the encoding.
func (a BlockAck) AppendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, a.Sector)
	dst = binary.BigEndian.AppendUint64(dst, a.BlockID)
	dst = binary.BigEndian.AppendUint32(dst, a.Bytes)
	return binary.BigEndian.AppendUint32(dst, a.Seq)
}

// Decode reads the payload.
func (a *BlockAck) Decode(p []byte) error {
	if len(p) < BlockAckLen {
		return short("block acknowledgement", len(p), BlockAckLen)
	}
	be := binary.BigEndian
	*a = BlockAck{Sector: be.Uint64(p), BlockID: be.Uint64(p[8:]), Bytes: be.Uint32(p[16:]), Seq: be.Uint32(p[20:])}
	return nil
}

// BlockRequest asks for a block: P_DATA_REQUEST, P_RS_DATA_REQUEST, P_RS_THIN_REQ, P_OV_REQUEST; a digest follows it in
// P_CSUM_RS_REQUEST and P_OV_REPLY.
type BlockRequest struct {
	Sector  uint64
	BlockID uint64
	Bytes   uint32
}

// Len is BlockAckLen.
func (BlockRequest) Len() int { return BlockAckLen }

// AppendTo appends the encoding.
func (r BlockRequest) AppendTo(dst []byte) []byte {
	return BlockAck{Sector: r.Sector, BlockID: r.BlockID, Bytes: r.Bytes}.AppendTo(dst)
}

// Decode reads the payload's fixed part; a digest follows at BlockAckLen.
func (r *BlockRequest) Decode(p []byte) error {
	var a BlockAck
	if err := a.Decode(p); err != nil {
		return short("block request", len(p), BlockAckLen)
	}
	*r = BlockRequest{Sector: a.Sector, BlockID: a.BlockID, Bytes: a.Bytes}
	return nil
}

// BlockDesc names a range: P_OUT_OF_SYNC, P_RS_DEALLOCATED.
type BlockDesc struct {
	Sector uint64
	Bytes  uint32
}

const blockDescLen = 16

// Len is the encoded length.
func (BlockDesc) Len() int { return blockDescLen }

// AppendTo appends the encoding.
func (b BlockDesc) AppendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, b.Sector)
	dst = binary.BigEndian.AppendUint32(dst, b.Bytes)
	return binary.BigEndian.AppendUint32(dst, 0)
}

// Decode reads the payload.
func (b *BlockDesc) Decode(p []byte) error {
	if len(p) < blockDescLen {
		return short("block description", len(p), blockDescLen)
	}
	*b = BlockDesc{Sector: binary.BigEndian.Uint64(p), Bytes: binary.BigEndian.Uint32(p[8:])}
	return nil
}

// BarrierInfo is P_BARRIER, the end of an epoch, and P_BARRIER_ACK: everything before it is on disk.
type BarrierInfo struct {
	// Number is opaque to the receiver, who sends it back.
	Number uint32
	// Writes is the number of writes in the epoch; P_BARRIER has nothing there.
	Writes uint32
}

const barrierLen = 8

// Len is the encoded length.
func (BarrierInfo) Len() int { return barrierLen }

// AppendTo appends the encoding.
func (b BarrierInfo) AppendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, b.Number)
	return binary.BigEndian.AppendUint32(dst, b.Writes)
}

// Decode reads the payload.
func (b *BarrierInfo) Decode(p []byte) error {
	if len(p) < barrierLen {
		return short("barrier", len(p), barrierLen)
	}
	*b = BarrierInfo{Number: binary.BigEndian.Uint32(p), Writes: binary.BigEndian.Uint32(p[4:])}
	return nil
}

// Word32 is P_STATE (a States word) and the answers P_STATE_CHG_REPLY and P_CONN_ST_CHG_REPLY (a StateReturn).
type Word32 uint32

// Len is 4.
func (Word32) Len() int { return 4 }

// AppendTo appends the encoding.
func (w Word32) AppendTo(dst []byte) []byte { return binary.BigEndian.AppendUint32(dst, uint32(w)) }

// Decode reads the payload.
func (w *Word32) Decode(p []byte) error {
	if len(p) < 4 {
		return short("state", len(p), 4)
	}
	*w = Word32(binary.BigEndian.Uint32(p))
	return nil
}

// Word64 is P_SYNC_UUID.
type Word64 uint64

// Len is 8.
func (Word64) Len() int { return 8 }

// AppendTo appends the encoding.
func (w Word64) AppendTo(dst []byte) []byte { return binary.BigEndian.AppendUint64(dst, uint64(w)) }

// Decode reads the payload.
func (w *Word64) Decode(p []byte) error {
	if len(p) < 8 {
		return short("UUID", len(p), 8)
	}
	*w = Word64(binary.BigEndian.Uint64(p))
	return nil
}

// StateChange is P_STATE_CHG_REQ and P_CONN_ST_CHG_REQ: may I set these fields? Role and Peer, Disk and PeerDisk are the
// sender's; the receiver swaps them.
type StateChange struct {
	Mask  uint32 // Mask... of the fields meant
	Value uint32 // a States word
}

// Len is 8.
func (StateChange) Len() int { return 8 }

// AppendTo appends the encoding.
func (s StateChange) AppendTo(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(dst, s.Mask), s.Value)
}

// Decode reads the payload.
func (s *StateChange) Decode(p []byte) error {
	if len(p) < 8 {
		return short("state change", len(p), 8)
	}
	*s = StateChange{Mask: binary.BigEndian.Uint32(p), Value: binary.BigEndian.Uint32(p[4:])}
	return nil
}

// DelayInfo is P_DELAY_PROBE.
type DelayInfo struct {
	Seq, Offset uint32
}

// Len is 8.
func (DelayInfo) Len() int { return 8 }

// AppendTo appends the encoding.
func (d DelayInfo) AppendTo(dst []byte) []byte {
	return StateChange{Mask: d.Seq, Value: d.Offset}.AppendTo(dst)
}

// Decode reads the payload.
func (d *DelayInfo) Decode(p []byte) error {
	var s StateChange
	if err := s.Decode(p); err != nil {
		return short("P_DELAY_PROBE", len(p), 8)
	}
	*d = DelayInfo{Seq: s.Mask, Offset: s.Value}
	return nil
}
