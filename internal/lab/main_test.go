package lab_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"holdfast/internal/lab"
	"holdfast/internal/lab/labdisk"
)

// volumeEnv makes the test binary, run inside a host, serve a file of that path over FUSE and a loop device, as a replicated
// volume's process does.
const volumeEnv = "HOLDFAST_TEST_VOLUME"

// upEnv makes the test binary a program that brings up the lab of that name and then waits to be killed.
const upEnv = "HOLDFAST_TEST_LAB_UP"

// TestMain lets the test binary stand in for holdfast in the hosts: the lab starts it as `holdfast lab-init ...`.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "lab-init" {
		os.Exit(lab.InitMain(os.Args[2:]))
	}
	if name := os.Getenv(upEnv); name != "" {
		upAndWait(name)
	}
	if path := os.Getenv(volumeEnv); path != "" {
		serveVolume(path)
	}
	os.Exit(m.Run())
}

func serveVolume(path string) {
	disk, err := labdisk.Open(labdisk.Config{Name: "volume", Path: path, Size: 64 << 20})
	if err == nil {
		err = disk.PowerOn()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	dev, err := disk.Device()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(dev.Path)
	var file string
	if _, err := fmt.Scanln(&file); err == nil {
		waitAbove(disk, file)
	}
	select {}
}

// waitAbove has a thread wait for a file above the device that the process serves itself, and no longer does.
func waitAbove(disk *labdisk.Disk, path string) {
	file, err := os.Create(path)
	if err == nil {
		_, err = file.Write(make([]byte, 1<<20))
	}
	if r := disk.Do(labdisk.Command{Do: "hang"}); err == nil && r.Error != "" {
		err = errors.New(r.Error)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go func() { _ = file.Sync() }()
	fmt.Println("waits")
}

func upAndWait(name string) {
	if _, err := lab.Up(context.Background(), lab.Config{Name: name, Daemon: []string{}}); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("up")
	select {}
}
