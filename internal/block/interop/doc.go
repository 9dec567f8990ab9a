// Package interop holds the tests of holdfast against the real DRBD 8.4 kernel module: a volume of this process replicates with
// a small virtual machine that runs Debian's kernel (software emulation, no KVM needed). The kit that boots the machine lies
// beside the repository, in ../shared/drbdvm; without it, without QEMU or without root the tests skip and say what is
// missing. `make interop` runs them.
//
//	test, volume nodeB (10.77.0.254:7788)  --tap, bridge, own namespace--  nodeA (10.77.0.1:7788): drbd.ko, /dev/vdb
//
// The front ends ublk and NBD need a kernel that has them: the tests named TestFront run the real holdfast inside a second
// machine, with Linux 6.12 and a volume without a peer.
//
//	test  --control channel--  front: holdfast daemon, guard, volume r0: /dev/ublkbN, /dev/nbdN or /dev/loopN over /dev/vdb
//
// That machine has the module too. TestHandover gives the disk from holdfast to it and back, with a file system mounted on either's
// device and a volume of this process as the peer.
package interop
