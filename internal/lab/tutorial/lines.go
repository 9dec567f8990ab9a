package tutorial

import "time"

// The tutorial's hosts, names and passwords.
const (
	DB1  = "lqi1ecmy01"
	DB2  = "lqi1ecmy02"
	Web1 = "lqi1ecmy03"
	Web2 = "lqi1ecmy04"
	// PublicBalancer and Client are the lab's stand-ins for the cloud's public load balancer and a visitor.
	PublicBalancer = "lqilbweb"
	Client         = "client"

	Volume       = "mysqlr0"
	DatabaseAddr = "10.0.1.10:3306"
	PublicAddr   = "10.0.3.10:80"
	DatabaseUser = "wpuser"
	DatabasePass = "wppassword"
	DatabaseName = "wordpress"

	rootPass    = "P@ssw0rd01"
	clusterPass = "P@ssw0rd01"
)

// Everything is the whole of the tutorial in order, up to the web tier's first visit.
func Everything() []Step {
	var all []Step
	for _, part := range [][]Step{Volumes(), Database(), Cluster(), Resources(), Balancers()} {
		all = append(all, part...)
	}
	return all
}

// resFile is /etc/drbd.d/mysqlr0.res as the tutorial has it.
const resFile = `resource mysqlr0 {
protocol C;
        on lqi1ecmy01 {
                device /dev/drbd1;
                disk /dev/sdc;
                address 10.0.1.4:7788;
                meta-disk internal;
        }
        on lqi1ecmy02 {
                device /dev/drbd1;
                disk /dev/sdc;
                address 10.0.1.5:7788;
                meta-disk internal;
        }
}
`

// Volumes is the tutorial's DRBD chapter. Its `vi` is a cat here,
// and syncs the file as vi does: the hosts will lose their power.
func Volumes() []Step {
	return []Step{
		{Host: DB1, Line: "cat > /etc/drbd.d/mysqlr0.res && sync /etc/drbd.d/mysqlr0.res", Stdin: resFile, Silent: true, Note: "DRBD: the resource on both hosts"},
		{Host: DB2, Line: "cat > /etc/drbd.d/mysqlr0.res && sync /etc/drbd.d/mysqlr0.res", Stdin: resFile, Silent: true},
		{Host: DB1, Line: "drbdadm create-md mysqlr0", Want: []string{"New drbd meta data block successfully created"}, Note: "metadata on both hosts"},
		{Host: DB2, Line: "drbdadm create-md mysqlr0", Want: []string{"New drbd meta data block successfully created"}},
		{Host: DB1, Line: "systemctl start drbd", Note: "start it on both"},
		{Host: DB2, Line: "systemctl start drbd"},
		{Host: DB1, Line: "systemctl enable drbd"},
		{Host: DB2, Line: "systemctl enable drbd"},
		{Host: DB1, Line: "drbdadm cstate mysqlr0", Want: []string{`^Connected\n$`}, Until: 20 * time.Second, Ours: true},
		{Host: DB1, Line: "drbdadm primary mysqlr0 --force", Silent: true, Note: "the first Primary, and the initial sync"},
		{Host: DB1, Line: "drbd-overview", Want: []string{`mysqlr0`, `Primary/Secondary`}},
		{Host: DB1, Line: "drbdadm role mysqlr0", Want: []string{`^Primary/Secondary\n$`}, Ours: true},
		{Host: DB1, Line: "holdfast drbd proc", Want: []string{`ds:UpToDate/UpToDate C`}, Until: 3 * time.Minute, Ours: true,
			Note: "cat /proc/drbd: wait until the initial sync is done"},
		{Host: DB1, Line: "mkfs.ext3 /dev/drbd1", Want: []string{"done"}, Note: "a filesystem on the replicated device"},
		{Host: DB1, Line: "mkdir /var/lib/mysql", Silent: true},
		{Host: DB1, Line: "mount /dev/drbd1 /var/lib/mysql/", Silent: true},
	}
}

// secureInstallation answers mysql_secure_installation's questions: no root password yet, keep no unix_socket switch, set a
// password, remove anonymous users, remote root and the test database, reload.
const secureInstallation = "\nn\ny\n" + rootPass + "\n" + rootPass + "\ny\ny\ny\ny\n"

// createDatabase is the conversation with mysql.
func createDatabase() []Turn {
	const prompt = "MariaDB [(none)]> "
	turns := []Turn{{"Enter password:", rootPass}}
	for _, line := range []string{
		"create database wordpress;",
		"create user 'wpuser'@'%' identified by 'wppassword';",
		"grant all privileges on wordpress.* to 'wpuser'@'%';",
		"flush privileges;",
		"exit",
	} {
		turns = append(turns, Turn{prompt, line})
	}
	return turns
}

// Database is the tutorial's MariaDB chapter.
func Database() []Step {
	return []Step{
		{Host: DB1, Line: "service mariadb start", Note: "MariaDB on the first host"},
		{Host: DB1, Line: "/usr/bin/mysql_secure_installation", Stdin: secureInstallation, Want: []string{"All done"}},
		{Host: DB1, Line: "systemctl stop mariadb.service", Note: "and over to the second"},
		{Host: DB1, Line: "umount /var/lib/mysql/", Silent: true},
		{Host: DB1, Line: "drbdadm secondary mysqlr0", Silent: true},
		{Host: DB2, Line: "drbdadm primary mysqlr0", Silent: true},
		{Host: DB2, Line: "install -d -o mysql -g mysql /var/lib/mysql", Silent: true, Ours: true}, // the package's doing
		{Host: DB2, Line: "mount /dev/drbd1 /var/lib/mysql", Silent: true},
		{Host: DB2, Line: "service mariadb start"},
		{Host: DB2, Line: "mysql -u root -p", Turns: createDatabase(), Want: []string{`Query OK, 1 row affected`, `Bye`}},
	}
}

// Cluster is the tutorial's pcs chapter up to the running, empty cluster.
func Cluster() []Step {
	login := "hacluster\n" + clusterPass + "\n"
	var steps []Step
	for _, h := range []string{DB1, DB2, Web1, Web2, PublicBalancer, Client} {
		steps = append(steps, Step{Host: h, Line: "passwd hacluster", Stdin: clusterPass + "\n" + clusterPass + "\n", Ours: h != DB1 && h != DB2})
	}
	return append(steps, []Step{
		{Host: DB1, Line: "pcs cluster auth lqi1ecmy01 lqi1ecmy02", Stdin: login, Want: []string{"lqi1ecmy01: Authorized", "lqi1ecmy02: Authorized"}, Note: "the cluster"},
		{Host: DB1, Line: "pcs cluster setup --name mysqlcluster lqi1ecmy01 lqi1ecmy02", Want: []string{"lqi1ecmy01: Succeeded", "lqi1ecmy02: Succeeded", "witness"}},
		{Host: DB1, Line: "pcs cluster start –all", Code: 1, Want: []string{"--all"}, Slip: true},
		{Host: DB1, Line: "pcs cluster start --all", Want: []string{"lqi1ecmy01: Starting Cluster", "lqi1ecmy02: Starting Cluster"}},
		{Host: DB1, Line: "pcs status", Want: []string{"Cluster name: mysqlcluster", `Online: \[ lqi1ecmy01 lqi1ecmy02 \]`, "partition with quorum"}, Until: 20 * time.Second},
		{Host: DB1, Line: "pcs cluster auth lqi1ecmy03 lqi1ecmy04 lqilbweb client", Stdin: login, Want: []string{"lqi1ecmy03: Authorized"}, Ours: true, Note: "a witness, so that two hosts need not guess"},
		{Host: DB1, Line: "holdfast witness add lqi1ecmy03", Ours: true},
		{Host: DB1, Line: "holdfast member add lqi1ecmy04", Ours: true},
		{Host: DB1, Line: "holdfast member add lqilbweb", Ours: true},
		{Host: DB1, Line: "holdfast member add client", Ours: true},
		{Host: DB1, Line: "pcs property set stonith-enabled=false"},
		{Host: DB1, Line: "pcs property set no-quorum-policy=ignore"},
	}...)
}

// Resources is the tutorial's configuration of resources, pushed at once.
func Resources() []Step {
	const slip = "pcs -f drbd_cfg resource constraint colocation add drbd_fs with ms_drbd_ha INFINITY with-rsc-role=Master"
	lines := []Step{
		{Line: "pcs -f drbd_cfg resource create drbd_ha ocf:linbit:drbd drbd_resource=mysqlr0 op monitor interval=60s", Note: "the resources"},
		{Line: "pcs -f drbd_cfg resource master  ms_drbd_ha drbd_ha master-max=1 master-node-max=1 clone-max=2 clone-node-max=1 notify=true"},
		{Line: `pcs -f drbd_cfg resource create drbd_fs Filesystem device="/dev/drbd1" directory="/var/lib/mysql" fstype="ext3"`},
		{Line: slip, Slip: true, Code: 1, Want: []string{"pcs -f drbd_cfg constraint colocation add drbd_fs with ms_drbd_ha INFINITY with-rsc-role=Master"}},
		{Line: "pcs -f drbd_cfg constraint colocation add drbd_fs with ms_drbd_ha INFINITY with-rsc-role=Master"},
		{Line: "pcs -f drbd_cfg constraint order promote ms_drbd_ha then start drbd_fs", Want: []string{`Adding ms_drbd_ha drbd_fs \(kind: Mandatory\) \(Options: first-action=promote then-action=start\)`}},
		{Line: `pcs -f drbd_cfg resource create mysql_svc ocf:heartbeat:mysql binary="/usr/bin/mysqld_safe" config="/etc/my.cnf" datadir="/var/lib/mysql" pid="/var/run/mariadb/mariadb.pid" socket="/var/lib/mysql/mysql.sock"  additional_parameters="--bind-address=0.0.0.0" op start timeout=60s op stop timeout=60s op monitor interval=20s timeout=30s`},
		{Line: "pcs -f drbd_cfg constraint colocation add mysql_svc with drbd_fs INFINITY"},
		{Line: "pcs -f drbd_cfg constraint order drbd_fs then mysql_svc", Want: []string{`Adding drbd_fs mysql_svc \(kind: Mandatory\)`}},
		{Line: "pcs cluster cib-push drbd_cfg", Want: []string{"CIB updated"}},
		{Line: "pcs status", Until: time.Minute, Want: []string{`Promoted: \[ lqi1ecmy02 \]`, `drbd_fs.*Started lqi1ecmy02`, `mysql_svc.*Started lqi1ecmy02`}},
	}
	for i := range lines {
		lines[i].Host = DB1
	}
	return lines
}

// Balancers is the cloud's part in the tutorial: the internal and the public load balancer.
func Balancers() []Step {
	steps := []Step{
		{Line: "holdfast balancer rule create mysql frontend=10.0.1.10:3306 add-address hosts=lqi1ecmy03,lqi1ecmy04,client backends=lqi1ecmy01=10.0.1.4:3306,lqi1ecmy02=10.0.1.5:3306 probe=tcp distribution=SourceIP follow=mysqlr0",
			Note: "the internal load balancer: lqilbmysql, 10.0.1.10"},
		{Line: "holdfast balancer rule create web frontend=10.0.3.10:80 hosts=lqilbweb backends=lqi1ecmy03=10.0.2.4:80,lqi1ecmy04=10.0.2.5:80 probe=tcp distribution=SourceIP",
			Note: "the public load balancer: lqilbweb"},
	}
	for i := range steps {
		steps[i].Host, steps[i].Ours = DB1, true
	}
	return steps
}
