package checker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// The MySQL protocol's packets as far as a probe meets them: a 3-byte little-endian length, a sequence number, the
// payload (MariaDB's documentation of its client/server protocol).
const (
	protocolVersion = 10
	okPacket        = 0x00
	authSwitch      = 0xfe
	errorPacket     = 0xff
	quitCommand     = 0x01
	// maxPacket bounds a packet from the server.
	maxPacket = 4096

	// Capabilities of the login: long password, protocol 4.1, secure connection, plugin authentication.
	loginFlags = 0x00000001 | 0x00000200 | 0x00008000 | 0x00080000
	// utf8General is the character set of the login.
	utf8General = 33
	// ProbeUser is whom a probe logs in as, without a password. It needs no account: being refused is an answer too. With
	// one (CREATE USER 'holdfast-probe'@'%'), the server has nothing to log.
	ProbeUser = "holdfast-probe"
)

// Error numbers of the server that a login without an account ends in.
const (
	erAccessDenied         = 1045
	erAccessDeniedNoPasswd = 1698
)

// checkMySQL reads the server's greeting and logs in. Hanging up after the greeting would be simpler, but the server counts
// that as a connection error and, after max_connect_errors of them (100 by default), blocks this host: its clients too. A
// refused login does not count.
func checkMySQL(conn net.Conn) error {
	hello, _, err := readPacket(conn)
	if err != nil {
		return fmt.Errorf("no MySQL greeting: %w", err)
	}
	if err := greeting(hello); err != nil {
		return err
	}
	if err := writePacket(conn, 1, loginPacket()); err != nil {
		return err
	}
	answer, seq, err := readPacket(conn)
	if err == nil && len(answer) > 0 && answer[0] == authSwitch {
		if err := writePacket(conn, seq+1, nil); err != nil {
			return err
		}
		answer, _, err = readPacket(conn)
	}
	if err != nil {
		return fmt.Errorf("no answer to the MySQL login: %w", err)
	}
	return loginAnswer(conn, answer)
}

// loginAnswer tells whether the server took the login or refused it properly.
func loginAnswer(conn net.Conn, p []byte) error {
	switch {
	case len(p) > 0 && p[0] == okPacket:
		return writePacket(conn, 0, []byte{quitCommand})
	case len(p) >= 3 && p[0] == errorPacket:
		if n := int(p[1]) | int(p[2])<<8; n != erAccessDenied && n != erAccessDeniedNoPasswd {
			return mysqlError(p)
		}
		return nil
	}
	return errors.New("unexpected answer to the MySQL login")
}

// loginPacket is the handshake response of a user without password.
func loginPacket() []byte {
	p := binary.LittleEndian.AppendUint32(nil, loginFlags)
	p = binary.LittleEndian.AppendUint32(p, maxPacket)
	p = append(p, utf8General)
	p = append(p, make([]byte, 23)...)
	p = append(append(p, ProbeUser...), 0)
	p = append(p, 0) // no authentication data
	return append(append(p, "mysql_native_password"...), 0)
}

// readPacket reads one packet's payload and sequence number.
func readPacket(r io.Reader) (payload []byte, seq byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, 0, err
	}
	n := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if n == 0 || n > maxPacket {
		return nil, 0, fmt.Errorf("a packet of %d bytes", n)
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	return payload, head[3], err
}

func writePacket(w io.Writer, seq byte, payload []byte) error {
	n := len(payload)
	_, err := w.Write(append([]byte{byte(n), byte(n >> 8), byte(n >> 16), seq}, payload...))
	return err
}

// greeting tells whether a server's first packet is that of one that takes logins.
func greeting(p []byte) error {
	switch {
	case len(p) == 0:
		return errors.New("empty MySQL greeting")
	case p[0] == errorPacket && len(p) >= 3:
		return mysqlError(p)
	case p[0] != protocolVersion:
		return fmt.Errorf("MySQL protocol version %d", p[0])
	}
	return nil
}

func mysqlError(p []byte) error {
	return fmt.Errorf("MySQL error %d: %q", int(p[1])|int(p[2])<<8, p[3:])
}
