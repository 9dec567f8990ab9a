package raftlog

import "go.etcd.io/raft/v3/raftpb"

// Acknowledges tells whether any of the messages may serve their receiver as this host's word: for an entry, as a vote, or for
// a leader that proves its leadership. A lease that another host holds through that word was asked for before it was given.
func Acknowledges(msgs []*raftpb.Message) bool {
	for _, m := range msgs {
		switch m.GetType() {
		case raftpb.MsgAppResp, raftpb.MsgHeartbeatResp, raftpb.MsgVoteResp, raftpb.MsgReadIndexResp:
			return true
		}
	}
	return false
}
