package ublkdev

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes, offsets and numbers are the kernel's: linux/ublk_cmd.h and linux/io_uring.h.
func TestLayouts(t *testing.T) {
	for name, c := range map[string][2]uintptr{
		"ublksrv_ctrl_cmd":            {unsafe.Sizeof(controlCommand{}), 32},
		"ublksrv_ctrl_cmd.data":       {unsafe.Offsetof(controlCommand{}.data), 16},
		"ublksrv_ctrl_dev_info":       {unsafe.Sizeof(Info{}), 64},
		"ublksrv_ctrl_dev_info.flags": {unsafe.Offsetof(Info{}.flags), 24},
		"ublksrv_flags":               {unsafe.Offsetof(Info{}.Mark), 32},
		"ublk_params.basic":           {unsafe.Offsetof(params{}.basic), 8},
		"ublk_param_basic":            {unsafe.Sizeof(basicParams{}), 32},
		"ublk_params.discard":         {unsafe.Offsetof(params{}.discard), 40},
		"ublk_param_discard":          {unsafe.Sizeof(discardParams{}), 20},
		"ublksrv_io_desc":             {unsafe.Sizeof(Descriptor{}), 24},
		"ublksrv_io_cmd":              {unsafe.Sizeof(ioCommand{}), 16},
		"io_uring_params":             {unsafe.Sizeof(ringParams{}), 120},
		"io_uring_cqe":                {unsafe.Sizeof(completion{}), 16},
		"io_uring_sqe.user_data":      {unsafe.Offsetof(entry{}.user), 32},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %d, want %d", name, c[0], c[1])
		}
	}
	if got := controlNumber(cmdAdd); got != 0xc0207504 {
		t.Errorf("UBLK_U_CMD_ADD_DEV is %#x", got)
	}
	if got := controlNumber(cmdGetFeatures); got != 0x80207513 {
		t.Errorf("UBLK_U_CMD_GET_FEATURES is %#x", got)
	}
	if got := ioctl(3, ioCommitAndFetch, unsafe.Sizeof(ioCommand{})); got != 0xc0107521 {
		t.Errorf("UBLK_U_IO_COMMIT_AND_FETCH_REQ is %#x", got)
	}
}

// The ring against the real kernel, with reads of an eventfd: entries are handed over in order, answers come with their
// marks, and a full ring says so.
func TestRing(t *testing.T) {
	r, err := newRing(8, setupSQE128)
	if err != nil {
		t.Skip(err)
	}
	defer r.Close()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_SEMAPHORE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	into := make([]uint64, 64)
	for round := range 40 { // the rings wrap
		one := [8]byte{3}
		if _, err := unix.Write(fd, one[:]); err != nil {
			t.Fatal(err)
		}
		want := map[uint64]bool{}
		for i := range 3 {
			user := uint64(round*10 + i)
			if !r.Read(fd, &into[i], user) {
				t.Fatal("the ring is full")
			}
			want[user] = true
		}
		for len(want) > 0 {
			if err := r.Enter(true); err != nil {
				t.Fatal(err)
			}
			for user, result, ok := r.Answer(); ok; user, result, ok = r.Answer() {
				if !want[user] || result != 8 {
					t.Fatalf("answer to %d: %d", user, result)
				}
				delete(want, user)
			}
		}
	}
	for range r.size {
		if !r.Read(fd, &into[0], 0) {
			t.Fatal("full too early")
		}
	}
	if r.Read(fd, &into[0], 0) {
		t.Error("one more than the ring holds was taken")
	}
}

// A command reaches the driver of its file, here /dev/null, whose answer comes with our mark.
func TestCommandIsAnswered(t *testing.T) {
	r, err := newRing(2, setupSQE128)
	if err != nil {
		t.Skip(err)
	}
	defer r.Close()
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !r.Command(int(f.Fd()), controlNumber(cmdGetInfo), 7, make([]byte, 32)) {
		t.Fatal("full")
	}
	for {
		if err := r.Enter(true); err != nil {
			t.Fatal(err)
		}
		if user, result, ok := r.Answer(); ok {
			if user != 7 {
				t.Errorf("answer to %d", user)
			}
			t.Logf("/dev/null answers %d", result)
			return
		}
	}
}

// Where there is no driver Dial says what is missing; where there is one it asks for what it can.
func TestDial(t *testing.T) {
	c, err := Dial()
	if err == nil {
		defer c.Close()
		if _, ok, err := c.Get(1 << 20); ok || err != nil {
			t.Errorf("a device that does not exist: %v, %v", ok, err)
		}
		return
	}
	if _, serr := os.Stat(controlPath); errors.Is(serr, os.ErrNotExist) && !strings.Contains(err.Error(), "modprobe ublk_drv") {
		t.Errorf("no hint what to do: %v", err)
	}
}
