package image

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"holdfast/internal/lab/guest"
)

// serverBlock is the tutorial's, with Debian's WordPress as its root.
const serverBlock = `# Written by the lab: the tutorial's server block, with Debian's WordPress as root.
server {
    listen 80 default_server;
    server_name lqi1eha02.chinacloudapp.cn;
    access_log /var/log/nginx/wordpress-access.log;
    error_log /var/log/nginx/wordpress-error.log;
    location / {
        root /usr/share/wordpress;
        index index.php index.html index.htm;
        if (-f $request_filename) {
            expires 30d;
            break;
        }
        if (!-e $request_filename) {
            rewrite ^(.+)$ /index.php?q=$1 last;
        }
    }
    location ~ .php$ {
        fastcgi_pass   127.0.0.1:9000;
        fastcgi_index  index.php;
        fastcgi_param  SCRIPT_FILENAME   /usr/share/wordpress$fastcgi_script_name;
        fastcgi_param  PATH_INFO         $fastcgi_script_name;
        include /etc/nginx/fastcgi_params;
    }
}
`

// fpmConfiguration replaces every pool of Debian's package by one that listens where the server block asks.
const fpmConfiguration = `; Written by the lab.
[global]
error_log = /var/log/php-fpm.log
daemonize = no
[www]
user = www-data
group = www-data
listen = 127.0.0.1:9000
pm = dynamic
pm.max_children = 5
pm.start_servers = 2
pm.min_spare_servers = 1
pm.max_spare_servers = 3
php_admin_value[cgi.fix_pathinfo] = 0
`

const fpmConfigurationPath = guest.ConfigDir + "/php-fpm.conf"

// wordpressConfiguration holds the tutorial's four settings. No salts: WordPress then keeps them in the database, where
// both web hosts share them.
const wordpressConfiguration = `<?php
define('DB_NAME', 'wordpress');
define('DB_USER', 'wpuser');
define('DB_PASSWORD', 'wppassword');
define('DB_HOST', '%s');
define('WP_CONTENT_DIR', '/var/lib/wordpress/wp-content');
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('DISABLE_WP_CRON', true);
`

// web gives a web host nginx, php-fpm and WordPress as the tutorial sets them up.
func (t tree) web(databaseAddress string) error {
	if err := os.RemoveAll(t.at("/etc/nginx/sites-enabled/default")); err != nil {
		return err
	}
	files := map[string]string{
		"/etc/nginx/conf.d/default.conf":    serverBlock,
		"/etc/wordpress/config-default.php": fmt.Sprintf(wordpressConfiguration, databaseAddress),
		fpmConfigurationPath:                fpmConfiguration,
	}
	for path, content := range files {
		if err := t.write(path, content, 0o644); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
	}
	return nil
}

func webDirectories() []guest.Directory {
	return []guest.Directory{{Path: "/run/php", Owner: "www-data", Mode: 0o755}}
}

func webServices(fpm string) []guest.Service {
	return []guest.Service{
		{
			Name: "php-fpm", AtBoot: true, Restart: true,
			Argv: []string{fpm, "--nodaemonize", "--fpm-config", fpmConfigurationPath},
		},
		{
			Name: "nginx", AtBoot: true, Restart: true,
			Argv: []string{"nginx", "-g", "daemon off;"}, Stop: []string{"nginx", "-s", "quit"},
		},
	}
}

// findFPM finds the machine's php-fpm, whose name has PHP's version in it.
func findFPM() (string, error) {
	found, err := filepath.Glob("/usr/sbin/php-fpm[0-9]*")
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", errors.New("there is no php-fpm on this machine: run scripts/setup")
	}
	return found[len(found)-1], nil
}

// ownedDirectory makes a directory that belongs to a user and its own group.
func (t tree) ownedDirectory(path, owner string, mode os.FileMode) error {
	u, err := user.Lookup(owner)
	if err != nil {
		return fmt.Errorf("make %s: %w (has scripts/setup been run?)", path, err)
	}
	uid, _ := strconv.Atoi(u.Uid) // numeric on Linux
	gid, _ := strconv.Atoi(u.Gid)
	at := t.at(path)
	if err := os.MkdirAll(at, mode); err != nil {
		return err
	}
	return os.Chown(at, uid, gid)
}
