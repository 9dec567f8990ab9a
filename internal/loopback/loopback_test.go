package loopback

import (
	"net"
	"testing"
)

func TestAddressIsNotGivenToOthers(t *testing.T) {
	mine := map[string]bool{}
	for range 2000 {
		mine[Address(t)] = true
	}
	if len(mine) != 2000 {
		t.Errorf("2000 calls gave %d addresses", len(mine))
	}
	for range 10000 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if mine[l.Addr().String()] {
			t.Errorf("%s was given to another", l.Addr())
		}
		l.Close()
	}
}

func TestAddressCanBeListenedOnAgainAndAgain(t *testing.T) {
	a := Address(t)
	for range 3 {
		l, err := net.Listen("tcp", a)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", a)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		l.Close()
	}
}
