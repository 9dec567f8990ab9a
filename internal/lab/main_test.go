package lab_test

import (
	"os"
	"testing"

	"holdfast/internal/lab"
)

// TestMain lets the test binary stand in for holdfast in the hosts: the lab starts it as `holdfast lab-init ...`.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "lab-init" {
		os.Exit(lab.InitMain(os.Args[2:]))
	}
	os.Exit(m.Run())
}
