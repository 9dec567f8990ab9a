package ublkdev

import "unsafe"

// Numbers and structures of linux/ublk_cmd.h, the interface of the kernel's ublk_drv.
const (
	cmdGetInfo       = 0x02
	cmdAdd           = 0x04
	cmdDelete        = 0x05
	cmdStart         = 0x06
	cmdStop          = 0x07
	cmdSetParams     = 0x08
	cmdStartRecovery = 0x10
	cmdEndRecovery   = 0x11
	cmdGetFeatures   = 0x13
	cmdDeleteAsync   = 0x14

	ioFetch          = 0x20
	ioCommitAndFetch = 0x21
)

// Flags of a device.
const (
	flagRecovery    = 1 << 3 // USER_RECOVERY: requests wait when the server has died
	flagReissue     = 1 << 4 // USER_RECOVERY_REISSUE: those it had are given to the next one
	flagIoctlEncode = 1 << 6
)

// States of a device.
const (
	Dead     = 0
	Live     = 1
	Quiesced = 2 // its server has died, requests wait
)

// Operations of a request, bits 0-7 of Descriptor.OpFlags, and flags beside them.
const (
	OpRead        = 0
	OpWrite       = 1
	OpFlush       = 2
	OpDiscard     = 3
	OpWriteZeroes = 5

	FlagFUA     = 1 << 13
	FlagNoUnmap = 1 << 15
)

// Attributes of a device.
const (
	attrReadOnly      = 1 << 0
	attrVolatileCache = 1 << 2
	attrFUA           = 1 << 3

	paramBasic   = 1 << 0
	paramDiscard = 1 << 1
)

// maxDepth is UBLK_MAX_QUEUE_DEPTH, which spaces the queues' descriptors.
const maxDepth = 4096

// Descriptor is a request, in memory shared with the kernel.
type Descriptor struct {
	OpFlags     uint32
	Sectors     uint32
	StartSector uint64
	_           uint64
}

// controlCommand is struct ublksrv_ctrl_cmd.
type controlCommand struct {
	device  uint32
	queue   uint16
	length  uint16
	address uint64
	data    uint64
	_       uint64
}

// Info is struct ublksrv_ctrl_dev_info.
type Info struct {
	Queues     uint16
	Depth      uint16
	State      uint16
	_          uint16
	MaxIO      uint32
	Device     uint32
	Process    int32
	_          uint32
	flags      uint64
	Mark       uint64 // ours: the kernel only keeps it
	_, _, _, _ uint32
	_          uint64
}

// params is struct ublk_params up to its discard part.
type params struct {
	length, types uint32
	basic         basicParams
	discard       discardParams
}

type basicParams struct {
	attributes                               uint32
	logicalShift, physicalShift, optimal, io uint8
	maxSectors, chunkSectors                 uint32
	sectors, boundary                        uint64
}

type discardParams struct {
	alignment, granularity, maxSectors, maxZeroes uint32
	maxSegments, _                                uint16
}

// ioCommand is struct ublksrv_io_cmd.
type ioCommand struct {
	queue, tag uint16
	result     int32
	address    uint64
}

// ioctl encodes a command's number as _IOR (2) or _IOWR (3) of type 'u' does.
func ioctl(direction, number uint32, size uintptr) uint32 {
	return direction<<30 | uint32(size)<<16 | 'u'<<8 | number
}

func controlNumber(number uint32) uint32 {
	direction := uint32(3)
	switch number {
	case cmdGetInfo, cmdGetFeatures, cmdDeleteAsync:
		direction = 2
	}
	return ioctl(direction, number, unsafe.Sizeof(controlCommand{}))
}

// bytesOf is the memory of a value.
func bytesOf[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}
