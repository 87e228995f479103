"""Files of SQLite that the processes of one machine share: turns, forks, errors, and who of them is alive."""
