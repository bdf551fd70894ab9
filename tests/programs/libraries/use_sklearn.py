"""scikit-learn: a pipeline, cross-validation with processes, a forest with threads, clusters, a model saved and loaded."""

import joblib
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris, make_blobs
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

if __name__ == "__main__":
    x, y = load_iris(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(x, y, random_state=0)
    model = make_pipeline(StandardScaler(), PCA(3), LogisticRegression(max_iter=500)).fit(train_x, train_y)
    assert model.score(test_x, test_y) > 0.9
    joblib.dump(model, "model.joblib")
    assert np.array_equal(joblib.load("model.joblib").predict(test_x), model.predict(test_x))
    # Processes of joblib's loky: semaphores, shared memory, pipes.
    scores = cross_val_score(LogisticRegression(max_iter=500), x, y, cv=4, n_jobs=2)
    assert scores.mean() > 0.9
    forest = RandomForestClassifier(30, n_jobs=2, random_state=0).fit(train_x, train_y)
    assert forest.score(test_x, test_y) > 0.9
    best = GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1.0]}, cv=3).fit(x, y)
    assert best.best_params_["C"] in (0.1, 1.0)
    points, groups = make_blobs(300, centers=[[0, 0], [20, 0], [0, 20]], random_state=1)
    found = KMeans(3, n_init=3, random_state=1).fit_predict(points)
    assert len(set(zip(found, groups))) == 3
    print("fine")
