package wire

import "fmt"

// Command is the kind of a packet.
type Command uint16

// The commands. D marks those of the data connection, M those of the meta connection.
const (
	Data            Command = 0x00 // D: a write
	DataReply       Command = 0x01 // D: answer to DataRequest
	RSDataReply     Command = 0x02 // D: answer to RSDataRequest
	Barrier         Command = 0x03 // D: end of an epoch of writes
	Bitmap          Command = 0x04 // D: words of the bitmap
	BecomeTarget    Command = 0x05 // D: the receiver becomes the target of a resync
	BecomeSource    Command = 0x06 // D: the receiver becomes the source of a resync
	UnplugRemote    Command = 0x07 // D: submit what is queued
	DataRequest     Command = 0x08 // D: read for the application
	RSDataRequest   Command = 0x09 // D: read for resync
	SyncParam       Command = 0x0a // D: resync settings, before version 89
	Protocol        Command = 0x0b // D: settings that must agree
	UUIDs           Command = 0x0c // D: generation identifiers
	Sizes           Command = 0x0d // D: size and limits of the device
	State           Command = 0x0e // D: state of the sender
	SyncUUID        Command = 0x0f // D: generation of a target during resync
	AuthChallenge   Command = 0x10 // D
	AuthResponse    Command = 0x11 // D
	StateChgReq     Command = 0x12 // D: may I change state?
	Ping            Command = 0x13 // M
	PingAck         Command = 0x14 // M
	RecvAck         Command = 0x15 // M: write received (protocol B)
	WriteAck        Command = 0x16 // M: write on disk (protocol C)
	RSWriteAck      Command = 0x17 // M: as WriteAck, and the block is in sync now
	Superseded      Command = 0x18 // M: concurrent writes, this one lost
	NegAck          Command = 0x19 // M: a write or resync write failed
	NegDReply       Command = 0x1a // M: a read failed
	NegRSDReply     Command = 0x1b // M: a resync read failed
	BarrierAck      Command = 0x1c // M: the epoch is on disk
	StateChgReply   Command = 0x1d // M: answer to StateChgReq
	OVRequest       Command = 0x1e // D: verify: send me a digest
	OVReply         Command = 0x1f // D: the digest
	OVResult        Command = 0x20 // M: equal or not
	CsumRSRequest   Command = 0x21 // D: resync read, with the digest of what the target has
	RSIsInSync      Command = 0x22 // M: the digest was equal
	SyncParam89     Command = 0x23 // D: resync settings
	CompressedBM    Command = 0x24 // D: bitmap in run lengths
	DelayProbe      Command = 0x27 // D and M
	OutOfSync       Command = 0x28 // D: mark these blocks
	RSCancel        Command = 0x29 // M: resync read not served
	ConnStChgReq    Command = 0x2a // D: StateChgReq for the connection as a whole
	ConnStChgReply  Command = 0x2b // M
	RetryWrite      Command = 0x2c // M: concurrent writes, send again
	ProtocolUpdate  Command = 0x2d // D: Protocol, while connected
	Trim            Command = 0x31 // D: discard
	RSThinReq       Command = 0x32 // D: resync read; the answer may be RSDeallocated
	RSDeallocated   Command = 0x33 // D: the range reads as zeros on the source
	WriteSame       Command = 0x34 // D
	Zeroes          Command = 0x36 // D: write zeros without data
	InitialMeta     Command = 0xfff1
	InitialData     Command = 0xfff2
	ConnectFeatures Command = 0xfffe
)

// String gives the command's name in DRBD's own logs.
func (c Command) String() string {
	if n, ok := commandName(c); ok {
		return n
	}
	return fmt.Sprintf("P_0x%x", uint16(c))
}

// Known tells whether this package knows the command. An unknown one ends the connection: its length cannot be trusted.
func (c Command) Known() bool {
	_, ok := commandName(c)
	return ok
}

// Belongs tells whether the command may come on the meta connection, or on the data connection; see the constants. On the
// other one it ends the connection: what comes there has another shape and order.
func (c Command) Belongs(meta bool) bool {
	switch c {
	case DelayProbe:
		return true
	case Ping, PingAck, RecvAck, WriteAck, RSWriteAck, Superseded, NegAck, NegDReply, NegRSDReply, BarrierAck, StateChgReply,
		OVResult, RSIsInSync, RSCancel, ConnStChgReply, RetryWrite:
		return meta
	case InitialMeta, InitialData, ConnectFeatures: // before there is a pair of connections
		return false
	}
	return !meta && c.Known()
}

func commandName(c Command) (string, bool) {
	names := [...]string{Data: "P_DATA", DataReply: "P_DATA_REPLY", RSDataReply: "P_RS_DATA_REPLY", Barrier: "P_BARRIER",
		Bitmap: "P_BITMAP", BecomeTarget: "P_BECOME_SYNC_TARGET", BecomeSource: "P_BECOME_SYNC_SOURCE",
		UnplugRemote: "P_UNPLUG_REMOTE", DataRequest: "P_DATA_REQUEST", RSDataRequest: "P_RS_DATA_REQUEST",
		SyncParam: "P_SYNC_PARAM", Protocol: "P_PROTOCOL", UUIDs: "P_UUIDS", Sizes: "P_SIZES", State: "P_STATE",
		SyncUUID: "P_SYNC_UUID", AuthChallenge: "P_AUTH_CHALLENGE", AuthResponse: "P_AUTH_RESPONSE",
		StateChgReq: "P_STATE_CHG_REQ", Ping: "P_PING", PingAck: "P_PING_ACK", RecvAck: "P_RECV_ACK",
		WriteAck: "P_WRITE_ACK", RSWriteAck: "P_RS_WRITE_ACK", Superseded: "P_SUPERSEDED", NegAck: "P_NEG_ACK",
		NegDReply: "P_NEG_DREPLY", NegRSDReply: "P_NEG_RS_DREPLY", BarrierAck: "P_BARRIER_ACK",
		StateChgReply: "P_STATE_CHG_REPLY", OVRequest: "P_OV_REQUEST", OVReply: "P_OV_REPLY", OVResult: "P_OV_RESULT",
		CsumRSRequest: "P_CSUM_RS_REQUEST", RSIsInSync: "P_RS_IS_IN_SYNC", SyncParam89: "P_SYNC_PARAM89",
		CompressedBM: "P_COMPRESSED_BITMAP", DelayProbe: "P_DELAY_PROBE", OutOfSync: "P_OUT_OF_SYNC",
		RSCancel: "P_RS_CANCEL", ConnStChgReq: "P_CONN_ST_CHG_REQ", ConnStChgReply: "P_CONN_ST_CHG_REPLY",
		RetryWrite: "P_RETRY_WRITE", ProtocolUpdate: "P_PROTOCOL_UPDATE", Trim: "P_TRIM", RSThinReq: "P_RS_THIN_REQ",
		RSDeallocated: "P_RS_DEALLOCATED", WriteSame: "P_WSAME", Zeroes: "P_ZEROES"}
	switch {
	case c == InitialMeta:
		return "P_INITIAL_META", true
	case c == InitialData:
		return "P_INITIAL_DATA", true
	case c == ConnectFeatures:
		return "P_CONNECTION_FEATURES", true
	case int(c) < len(names) && names[c] != "":
		return names[c], true
	}
	return "", false
}
