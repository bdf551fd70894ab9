-- Ends whatever transaction an interrupted operation left open.
ROLLBACK;
