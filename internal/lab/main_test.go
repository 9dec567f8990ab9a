package lab_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"holdfast/internal/lab"
)

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
	os.Exit(m.Run())
}

func upAndWait(name string) {
	if _, err := lab.Up(context.Background(), lab.Config{Name: name, Daemon: []string{}}); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("up")
	select {}
}
