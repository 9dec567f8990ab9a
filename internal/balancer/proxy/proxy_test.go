package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand"
	"net"
	"syscall"
	"testing"
	"time"
)

const patient = 20 * time.Second

// pair makes a TCP connection over loopback and returns both ends.
func pair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err = Dial(context.Background(), l.Addr().String(), patient)
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	b = c.(*net.TCPConn)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// joined makes client - proxy - server with the proxy running; end receives how it ended.
func joined(t *testing.T, idle time.Duration) (client, server *net.TCPConn, conn *Conn, end chan End) {
	t.Helper()
	client, in := pair(t)
	out, server := pair(t)
	client.SetDeadline(time.Now().Add(patient))
	server.SetDeadline(time.Now().Add(patient))
	conn = Join(in, out, idle)
	end = make(chan End, 1)
	go func() { end <- conn.Run() }()
	return client, server, conn, end
}

func await(t *testing.T, end chan End, want End) {
	t.Helper()
	select {
	case got := <-end:
		if got != want {
			t.Errorf("ended as %d, want %d", got, want)
		}
	case <-time.After(patient):
		t.Fatal("the connection did not end")
	}
}

func TestBothDirectionsAndHalfClose(t *testing.T) {
	client, server, conn, end := joined(t, patient)
	ask, answer := make([]byte, 3<<20), make([]byte, 5<<20)
	rnd := rand.New(rand.NewSource(1))
	rnd.Read(ask)
	rnd.Read(answer)
	sum := make(chan [32]byte, 1)
	go func() {
		got, _ := io.ReadAll(server) // to the client's half-close
		sum <- sha256.Sum256(got)
		server.Write(answer)
		server.Close()
	}()
	if _, err := client.Write(ask); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(client)
	if err != nil || !bytes.Equal(got, answer) {
		t.Errorf("answer of %d bytes, %v; want %d", len(got), err, len(answer))
	}
	if <-sum != sha256.Sum256(ask) {
		t.Error("the server got something else than was sent")
	}
	await(t, end, Closed)
	if conn.Sent != int64(len(ask)) || conn.Received != int64(len(answer)) {
		t.Errorf("counted %d and %d bytes", conn.Sent, conn.Received)
	}
}

func TestReset(t *testing.T) {
	client, server, conn, end := joined(t, patient)
	client.Write([]byte("x"))
	io.ReadFull(server, make([]byte, 1))
	conn.Reset()
	conn.Reset() // again is nothing
	await(t, end, Ordered)
	for name, side := range map[string]*net.TCPConn{"client": client, "server": server} {
		if _, err := side.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the %s sees %v, want a reset", name, err)
		}
	}
}

func TestOneSideFails(t *testing.T) {
	client, server, _, end := joined(t, patient)
	Abort(server)
	await(t, end, Broken)
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v, want a reset", err)
	}
}

func TestIdle(t *testing.T) {
	client, server, _, end := joined(t, 1500*time.Millisecond)
	// Traffic in one direction keeps both alive: exchanges spread over longer than the idle time.
	for range 6 {
		time.Sleep(300 * time.Millisecond)
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatalf("a connection with traffic was ended: %v", err)
		}
		if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
			t.Fatalf("a connection with traffic was ended: %v", err)
		}
	}
	await(t, end, Idle)
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v, want a reset", err)
	}
}

// The deadlines that watch for idleness expire many times under a slow transfer; none of them may lose or repeat data.
func TestDeadlinesLoseNothing(t *testing.T) {
	client, server, _, end := joined(t, 100*time.Millisecond)
	data := make([]byte, 4<<20)
	rand.New(rand.NewSource(2)).Read(data)
	go func() {
		client.Write(data)
		client.CloseWrite()
	}()
	var got bytes.Buffer
	for {
		if _, err := io.CopyN(&got, server, 32<<10); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	server.CloseWrite()
	if <-end == Closed && got.Len() != len(data) || !bytes.HasPrefix(data, got.Bytes()) {
		t.Errorf("%d of %d bytes arrived, or others than were sent", got.Len(), len(data))
	}
}

func TestGone(t *testing.T) {
	cases := []struct {
		name string
		act  func(client *net.TCPConn, cancel func())
		want bool
	}{
		{"hangs up", func(c *net.TCPConn, _ func()) { c.Close() }, true},
		{"resets", func(c *net.TCPConn, _ func()) { Abort(c) }, true},
		{"speaks", func(c *net.TCPConn, _ func()) { c.Write([]byte("GET")) }, false},
		{"waits", func(_ *net.TCPConn, cancel func()) { cancel() }, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			client, server := pair(t)
			ctx, cancel := context.WithTimeout(context.Background(), patient)
			defer cancel()
			answer := make(chan bool, 1)
			go func() { answer <- Gone(ctx, server) }()
			c.act(client, cancel)
			if got := <-answer; got != c.want {
				t.Fatalf("got %v, want %v", got, c.want)
			}
			if c.name != "speaks" {
				return
			}
			got := make([]byte, 3)
			server.SetReadDeadline(time.Now().Add(patient))
			if _, err := io.ReadFull(server, got); err != nil || string(got) != "GET" {
				t.Errorf("afterwards %q, %v can be read", got, err)
			}
		})
	}
}
