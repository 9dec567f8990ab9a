package volume

// MetadataXML is what the meta-data action prints. Parameter names, defaults and advised times are those of LINBIT's
// agent; parameters of it that make no sense here (kernel module versions, unfence hooks) are accepted and unused.
const MetadataXML = `<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
<resource-agent name="drbd" version="holdfast 1.0">
<version>1.1</version>
<longdesc lang="en">
Manages a volume that is replicated between two hosts, as a promotable clone: a running instance is the volume up as
Secondary, a promoted one is Primary. Only a replica that the cluster's log counts among the UpToDate ones is promoted.
</longdesc>
<shortdesc lang="en">Replicated volume (built in)</shortdesc>
<parameters>
<parameter name="drbd_resource" unique="1" required="1">
<longdesc lang="en">The name of the resource in the .res file.</longdesc>
<shortdesc lang="en">resource name</shortdesc>
<content type="string"/>
</parameter>
<parameter name="drbdconf">
<longdesc lang="en">Full path of drbd.conf. The daemon reads the node's own; another path is ignored.</longdesc>
<shortdesc lang="en">path of drbd.conf</shortdesc>
<content type="string" default="/etc/drbd.conf"/>
</parameter>
<parameter name="adjust_master_score">
<longdesc lang="en">
Four promotion scores that do not decrease, for: only Consistent data; UpToDate data only on the peer (never promoted
here); UpToDate data here while Secondary with the peer unknown; UpToDate data here while Primary or with the peer known.
</longdesc>
<shortdesc lang="en">promotion scores</shortdesc>
<content type="string" default="0 10 1000 10000"/>
</parameter>
<parameter name="stop_outdates_secondary">
<longdesc lang="en">Accepted for compatibility: the cluster's log knows which replicas are out of date.</longdesc>
<shortdesc lang="en">unused</shortdesc>
<content type="boolean" default="false"/>
</parameter>
<parameter name="ignore_missing_notifications">
<longdesc lang="en">Accepted for compatibility: notifications are not needed.</longdesc>
<shortdesc lang="en">unused</shortdesc>
<content type="boolean" default="false"/>
</parameter>
<parameter name="wfc_timeout">
<longdesc lang="en">Seconds that start waits, at most, for the peer to be connected. Empty: it does not wait.</longdesc>
<shortdesc lang="en">wait for the connection</shortdesc>
<content type="integer" default="5"/>
</parameter>
<parameter name="remove_master_score_if_peer_primary">
<longdesc lang="en">Accepted for compatibility: the cluster's log has at most one Primary.</longdesc>
<shortdesc lang="en">unused</shortdesc>
<content type="string" default="false"/>
</parameter>
<parameter name="fail_promote_early_if_peer_primary">
<longdesc lang="en">Accepted for compatibility.</longdesc>
<shortdesc lang="en">unused</shortdesc>
<content type="boolean" default="false"/>
</parameter>
</parameters>
<actions>
<action name="start" timeout="240"/>
<action name="reload" timeout="30"/>
<action name="promote" timeout="90"/>
<action name="demote" timeout="90"/>
<action name="notify" timeout="90"/>
<action name="stop" timeout="100"/>
<action name="monitor" timeout="20" interval="20" role="Unpromoted"/>
<action name="monitor" timeout="20" interval="10" role="Promoted"/>
<action name="meta-data" timeout="5"/>
<action name="validate-all"/>
</actions>
</resource-agent>
`
