package checker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const patient = 10 * time.Second

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// serve answers each connection with answer.
func serve(t *testing.T, answer func(net.Conn)) string {
	l := listen(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer(conn)
			}()
		}
	}()
	return l.Addr().String()
}

func check(addr, kind, path string, timeout time.Duration) error {
	return Check(context.Background(), Target{Addr: addr, Kind: kind, Path: path, Timeout: timeout})
}

func want(t *testing.T, err error, text string) {
	t.Helper()
	if text == "" && err != nil {
		t.Errorf("failed: %v", err)
	}
	if text != "" && (err == nil || !strings.Contains(err.Error(), text)) {
		t.Errorf("got %v, want an error with %q", err, text)
	}
}

func TestTCP(t *testing.T) {
	l := listen(t)
	addr := l.Addr().String()
	want(t, check(addr, "tcp", "", patient), "")
	l.Close()
	want(t, check(addr, "tcp", "", patient), "connection refused")
}

// A database counts a connection that says nothing as a failed login, and blocks hosts that fail often: a TCP probe must
// not reach the server behind the listener at all.
func TestTCPProbeIsNotAccepted(t *testing.T) {
	l := listen(t)
	for range 50 {
		if err := check(l.Addr().String(), "tcp", "", patient); err != nil {
			t.Fatal(err)
		}
	}
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	l.SetDeadline(time.Now().Add(patient))
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if first.RemoteAddr().String() != client.LocalAddr().String() {
		t.Error("the server was given a probe's connection")
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if Check(ctx, Target{Addr: listen(t).Addr().String(), Timeout: patient}) == nil {
		t.Error("a cancelled probe was good")
	}
}

func TestHTTP(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			fmt.Fprint(w, "fine")
		case "/moved":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/big":
			w.Write(make([]byte, 1<<20))
		default:
			http.Error(w, "broken", http.StatusInternalServerError)
		}
	}))
	defer srv.Close()
	addr := srv.Listener.Addr().String()
	want(t, check(addr, "http", "/ok", patient), "")
	want(t, check(addr, "http", "ok", patient), "")
	want(t, check(addr, "http", "/big", patient), "")
	want(t, check(addr, "http", "/moved", patient), "HTTP answer 302")
	want(t, check(addr, "http", "", patient), "HTTP answer 500")
	want(t, check(serve(t, func(c net.Conn) { io.WriteString(c, "hello\n") }), "http", "/", patient), "no HTTP answer")
	silent := serve(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	want(t, check(silent, "http", "/", 50*time.Millisecond), "no answer in time")
}

// packet frames a payload.
func packet(seq byte, payload string) string {
	return string([]byte{byte(len(payload)), byte(len(payload) >> 8), 0, seq}) + payload
}

const hello = "\x0a10.11.6-MariaDB\x00rest of the greeting"

func TestMySQL(t *testing.T) {
	// Each script is what the server sends: at once, and after each packet of the client's.
	cases := []struct {
		name   string
		script []string
		want   string
	}{
		{"login refused", []string{packet(0, hello), packet(2, "\xff\x15\x04#28000Access denied")}, ""},
		{"login refused without password", []string{packet(0, hello), packet(2, "\xff\xa2\x06#28000Access denied")}, ""},
		{"login taken", []string{packet(0, hello), packet(2, "\x00\x00\x00\x02\x00\x00\x00")}, ""},
		{"other method, refused", []string{packet(0, hello), packet(2, "\xfecaching_sha2_password\x00salt"), packet(4, "\xff\x15\x04#28000Access denied")}, ""},
		{"too many connections", []string{packet(0, "\xff\x10\x04Too many connections")}, "MySQL error 1040"},
		{"blocked", []string{packet(0, "\xff\x69\x04Host is blocked")}, "MySQL error 1129"},
		{"refused for another reason", []string{packet(0, hello), packet(2, "\xff\x10\x04#08004Too many connections")}, "MySQL error 1040"},
		{"old protocol", []string{packet(0, "\x093.23")}, "protocol version 9"},
		{"not MySQL", []string{"SSH-2.0-OpenSSH"}, "no MySQL greeting"},
		{"hangs up", []string{""}, "no MySQL greeting"},
		{"hangs up after the login", []string{packet(0, hello), ""}, "no answer to the MySQL login"},
		{"nonsense after the login", []string{packet(0, hello), packet(2, "\x17")}, "unexpected answer"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			addr := serve(t, func(conn net.Conn) {
				in := bufio.NewReader(conn)
				for i, text := range c.script {
					if i > 0 {
						if _, _, err := readAny(in); err != nil {
							return
						}
					}
					io.WriteString(conn, text)
				}
				if last := c.script[len(c.script)-1]; last != "" {
					io.Copy(io.Discard, in)
				}
			})
			want(t, check(addr, "mysql", "", time.Second), c.want)
		})
	}
}

// readAny reads a packet of the client's, which may be empty.
func readAny(r io.Reader) ([]byte, byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, 0, err
	}
	p := make([]byte, int(head[0])|int(head[1])<<8)
	_, err := io.ReadFull(r, p)
	return p, head[3], err
}

func FuzzMySQLPackets(f *testing.F) {
	f.Add([]byte(packet(0, hello)))
	f.Add([]byte(packet(0, "\xff\x10\x04Too many connections")))
	f.Add([]byte("\xff\xff\xff\x00"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		p, _, err := readPacket(strings.NewReader(string(data)))
		if err != nil {
			return
		}
		if len(p) == 0 || len(p) > maxPacket || len(p)+4 > len(data) {
			t.Fatalf("a payload of %d bytes out of %d", len(p), len(data))
		}
		if greeting(p) == nil && p[0] != protocolVersion {
			t.Fatalf("greeting %x taken", p)
		}
		loginAnswer(discard{}, p)
	})
}

// discard is a connection that takes what is written to it.
type discard struct{ net.Conn }

func (discard) Write(p []byte) (int, error) { return len(p), nil }
