-- Every known file.
SELECT id FROM files;
